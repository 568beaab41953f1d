"""Run queries over an export in Spark, on this machine.

    python spark_queries.py CALLS.parquet < queries.json

This file runs in an environment with PySpark and without promptcache. It prints the rows of each
query as JSON, with the names of their columns. Whole numbers come as text: JSON has no more than 53
bits.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
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
    results = [
        [
            {
                name: value if value is None or isinstance(value, str) else str(value)
                for name, value in row.asDict().items()
            }
            for row in spark.sql(query).collect()
        ]
        for query in json.load(sys.stdin)
    ]
    spark.stop()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
