"""Emulate LLM providers on loopback: their wire formats and their prompt caches.

The caches follow dated profiles of this package (`profiles.py`). The package imports nothing of
`promptcache`: a test against the emulator proves nothing if both sides share the cache rules.
Only `app`, `control` and `server` need the extra `promptcache[emulator]`. Everything else is pure
Python, so tests can use an `Emulator` in their own process and move its clock.
"""
