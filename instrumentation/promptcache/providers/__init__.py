"""Everything about single providers: one folder each, one row each in `registry.py`.

A folder's `wire.py` and `rules.py` are pure functions and data. Its `hooks.py` belongs to the layer
`patching`: only that layer imports it, by the name in the registry.
"""
