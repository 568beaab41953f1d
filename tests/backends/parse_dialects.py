"""Parse a query in the dialect of each engine: a JSON object of texts by dialect on stdin.

This file runs in an environment with sqlglot and without promptcache. A query that sqlglot cannot
parse, or of which it understands no SELECT, ends the program with an error.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

SQLGLOT: Any = import_module("sqlglot")  # not installed here, so it has no types


def main() -> None:
    """Parse all queries."""
    queries: dict[str, list[str]] = json.load(sys.stdin)
    for dialect, texts in queries.items():
        for text in texts:
            tree = SQLGLOT.parse_one(text, read=dialect)
            names = [column.alias for column in tree.expressions]
            if tree.key != "select" or not all(names):
                sys.exit(f"{dialect} reads no SELECT with named columns: {text}")
            # What sqlglot does not know it keeps as an anonymous function.
            unknown = {function.name for function in tree.find_all(SQLGLOT.exp.Anonymous)}
            if unknown - {"toInt128"}:
                sys.exit(f"{dialect} does not know {unknown}")
        print(f"{dialect}: {len(texts)} queries parsed")


if __name__ == "__main__":
    main()
