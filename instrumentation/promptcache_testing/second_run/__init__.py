"""Run the tests a second time in other surroundings, and compare what must not depend on them.

A second pytest process runs the selected tests first, with another clock, hash seed, random seed,
time zone, locale and working folder. Every byte of tools and system that differs is volatile. The
processes exchange keyed digests and offsets, never text.
"""
