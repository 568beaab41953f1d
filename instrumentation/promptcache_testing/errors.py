"""What the fixture raises. No message holds text of a prompt."""

from __future__ import annotations


class BlockedRequestError(OSError):
    """A request that would have left the machine. The message names method, host and path."""


class CacheRegressionError(AssertionError):
    """A check of the fixture failed. The message says which call broke what, and where."""
