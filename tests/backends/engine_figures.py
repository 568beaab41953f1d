"""All figures of the report by all groupings, equal to the last digit on every engine.

Run by `make engines`, or by hand:

    python -m tests.backends.engine_figures .venv-chdb/bin/python [CALLS]

The engines are SQLite (the local table), OTLP JSON, DuckDB on Parquet, the engine of ClickHouse
(clickhouse_checks.py) through each view of `promptcache engine clickhouse`, and PostgreSQL. sqlglot
parses the queries of the other engines.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb

from promptcache_exporters.database.columns import CALL_COLUMNS, NEVER_EXPORTED_COLUMNS
from promptcache_exporters.database.dialect import DIALECTS
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import figures_by_group_sql
from tests.backends.clickhouse_checks import check_clickhouse
from tests.backends.figures import Figures, compare, figures_of_source
from tests.backends.postgres_server import NULL, running_postgres
from tests.support.otlp_json import encode_otlp_json_line
from tests.support.seeded_day import seeded_day

EXPORTED_COLUMNS: Final = [one for one in CALL_COLUMNS if one.name not in NEVER_EXPORTED_COLUMNS]
PARSER: Final = Path(__file__).with_name("parse_dialects.py")


def figures_of_postgres(parquet: Path, folder: Path) -> Figures:
    """Load an export into PostgreSQL, and return the figures."""
    csv = folder / "calls.csv"
    duckdb.execute(f"COPY (FROM '{parquet}') TO '{csv}' (HEADER, NULLSTR '{NULL}', FORCE_QUOTE *)")
    types = {"TEXT": "text", "INTEGER": "bigint", "REAL": "double precision"}
    columns = ", ".join(f"{one.name} {types[one.type.split()[0]]}" for one in EXPORTED_COLUMNS)
    with running_postgres() as server:
        server.run(
            f"CREATE TABLE calls (id bigint, {columns});\n"
            f"\\copy calls FROM '{csv}' (FORMAT csv, HEADER, NULL '{NULL}',"
            f" FORCE_NULL ({', '.join(['id', *(one.name for one in EXPORTED_COLUMNS)])}))\n"
        )
        found: Figures = {}
        for by in GroupBy:
            rows = server.run(
                figures_by_group_sql(by, DIALECTS["postgres"], FIGURES, "calls", "") + ";"
            )
            found[by] = {
                key: tuple(None if value is None else int(value) for value in values)
                for key, *values in rows
            }
        return found


def parse_dialects(python: str) -> None:
    """Parse the queries of all dialects by sqlglot."""
    queries = {
        dialect.name: [
            figures_by_group_sql(by, dialect, FIGURES, "calls", "time >= 0") for by in GroupBy
        ]
        for dialect in DIALECTS.values()
    }
    subprocess.run([python, PARSER], input=json.dumps(queries), text=True, check=True)


def main(python: str, calls: int = 5_000) -> None:
    """Compare all engines; `python` has chDB and sqlglot."""
    parse_dialects(python)
    with TemporaryDirectory() as name:
        folder = Path(name)
        spans = list(seeded_day(calls))
        table, exported, lines = (folder / f"calls.{end}" for end in ("db", "parquet", "jsonl"))
        SQLiteSpanExporter(table).export(spans)
        export_calls_to_parquet(table, exported)
        lines.write_text(
            "".join(
                encode_otlp_json_line(spans[at : at + 100]) + "\n" for at in range(0, calls, 100)
            )
        )
        expected = figures_of_source(str(table))
        for title, place in (("OTLP JSON", lines), ("DuckDB on Parquet", exported)):
            compare(title, partial(figures_of_source, str(place)), expected)
        check_clickhouse(python, folder, table, spans)
        compare("PostgreSQL", partial(figures_of_postgres, exported, folder), expected)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
