"""Providers on loopback: their wire formats, and caches that follow dated profiles of the emulator's own.

Nothing here reads `promptcache.rules`: an oracle that shares the rules of what it judges proves nothing. Everything
but `server` and `command` is pure Python, so that tests can drive an `Emulator` in-process and move its clock.
"""
