"""Run `python -m promptcache.cli`."""

from promptcache.cli.entry_point import main

main()
