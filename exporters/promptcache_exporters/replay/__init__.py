"""Replay recorded calls through a model of the provider's cache, under another policy.

The model follows the documented rules of `promptcache.providers` and shares no code with the
emulator, which judges it in the tests.
"""
