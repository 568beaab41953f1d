"""Spark gives all figures of the report by all groupings, equal to those of the local table.

Run by `make engines-spark`, or by hand:

    python -m tests.backends.spark_figures .venv-spark/bin/python [CALLS]

Spark runs in this machine's Java, over two partitions of threads; it needs Java 17 or newer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from promptcache_exporters.database.dialect import DIALECTS
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import figures_by_group_sql
from tests.backends.figures import Figures, compare, figures_of_source
from tests.support.seeded_day import seeded_day

RUNNER: Final = Path(__file__).with_name("spark_queries.py")


def figures_of_spark(python: str, parquet: Path) -> Figures:
    """Return the figures of an export; `python` has PySpark."""
    dialect = DIALECTS["spark"]
    queries = [figures_by_group_sql(by, dialect, FIGURES, "calls", "") for by in GroupBy]
    done = subprocess.run(
        [python, RUNNER, parquet],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    results = json.loads(done.stdout)
    return {
        by: {
            row["group_key"]: tuple(
                None if row[name] is None else int(row[name]) for name in FIGURES
            )
            for row in rows
        }
        for by, rows in zip(GroupBy, results, strict=True)
    }


def main(python: str, calls: int = 5_000) -> None:
    """Compare Spark with the local table."""
    with TemporaryDirectory() as name:
        table, exported = Path(name) / "calls.db", Path(name) / "calls.parquet"
        SQLiteSpanExporter(table).export(list(seeded_day(calls)))
        export_calls_to_parquet(table, exported)
        expected = figures_of_source(str(table))
        compare("Spark", lambda: figures_of_spark(python, exported), expected)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
