"""The import path that users and the entry point `promptcache_sqlite` hold."""

from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter

__all__ = ["SQLiteSpanExporter"]
