"""A route: which handler answers which method and path."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse

RouteHandler = Callable[[EmulatorContext, ProviderRequest], ProviderResponse]


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a regular expression for the whole path, and the handler.

    `error_body` returns the provider's JSON body for an HTTP error.
    """

    method: str
    path_pattern: str
    handler: RouteHandler
    error_body: Callable[[ProviderError], JSONObject]

    def match_request(self, method: str, path: str) -> dict[str, str] | None:
        """Return the named groups of the path, or None if this route does not match."""
        found = re.fullmatch(self.path_pattern, path) if method == self.method else None
        return found.groupdict() if found else None
