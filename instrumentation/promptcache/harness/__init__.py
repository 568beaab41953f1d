"""Lay out prompts so that the provider's cache can serve them. Needs no OpenTelemetry.

A `Prompt` holds what is the same for everybody, a `Chat` adds the turns of one conversation and
returns the keyword arguments of the provider's own SDK, and a `CacheTracker` counts what the cache
did. The layers have a fixed order, so an order that cannot be cached cannot be written.

The names are imported from `promptcache`, which loads a module of this package on first use.
"""
