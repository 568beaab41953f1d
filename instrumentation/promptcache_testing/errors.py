"""What the fixture raises. No message holds text of a prompt."""

from __future__ import annotations


class BlockedRequestError(OSError):
    """A request that would have left the machine. The message names method, host and path."""


class CacheRegressionError(AssertionError):
    """A check failed. The message says which call broke what, and where."""


class InconclusiveError(CacheRegressionError):
    """A check could not decide. That is a failure too."""
