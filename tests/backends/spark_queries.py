"""Run queries over an export in Spark, on this machine.

    python spark_queries.py CALLS.parquet < queries.json

This file runs in an environment with PySpark and without promptcache. It prints the rows of each
query as JSON, with the names of their columns. Whole numbers come as text: JSON has no more than 53
bits. The last line on stderr has the seconds of each query, and the peak memory of Java.
"""

from __future__ import annotations

import json
import re
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

SESSION: Any = import_module("pyspark.sql").SparkSession  # not installed here, so it has no types


def main(parquet: str) -> None:
    """Print a JSON list with the rows of each query."""
    spark = (
        SESSION.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "4")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    spark.read.parquet(parquet).createOrReplaceTempView("calls")
    results: list[list[dict[str, str | None]]] = []
    seconds: list[str] = []
    for query in json.load(sys.stdin):
        start = time.perf_counter()
        rows = [row.asDict() for row in spark.sql(query).collect()]
        seconds.append(f"{time.perf_counter() - start:.1f} s")
        results.append([{name: to_text(value) for name, value in row.items()} for row in rows])
    memory = peak_memory(spark)
    spark.stop()
    json.dump(results, sys.stdout)
    print(f"{', '.join(seconds)}, {memory}", file=sys.stderr)


def to_text(value: Any) -> str | None:
    return None if value is None else str(value)


def peak_memory(spark: Any) -> str:
    """Return the peak memory of Java (on Linux)."""
    java = spark.sparkContext._gateway.proc.pid
    status = Path(f"/proc/{java}/status")
    found = re.search(r"VmHWM: *(.*)", status.read_text()) if status.exists() else None
    return found[1].strip() if found else "unknown memory"


if __name__ == "__main__":
    main(sys.argv[1])
