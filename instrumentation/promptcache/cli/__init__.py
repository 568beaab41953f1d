"""The command `promptcache`. It may import everything, nothing imports it."""

from promptcache.cli.entry_point import main

__all__ = ["main"]
