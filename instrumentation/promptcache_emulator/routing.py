"""A route: which handler answers which method and path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject, parse_json_object
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse

BodyParser = Callable[[bytes, Mapping[str, str]], JSONObject]
"""Parse the bytes of a body, given the headers. Raise ValueError if it is malformed."""
RouteHandler = Callable[[EmulatorContext, ProviderRequest], ProviderResponse]


def _parse_json_body(raw: bytes, headers: Mapping[str, str]) -> JSONObject:
    return parse_json_object(raw)


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a regular expression for the whole path, and the handler.

    `error_body` returns the provider's JSON body for an HTTP error. `parse_body` is for bodies that
    are no JSON.
    """

    method: str
    path_pattern: str
    handler: RouteHandler
    error_body: Callable[[ProviderError], JSONObject]
    parse_body: BodyParser = _parse_json_body

    def match_request(self, method: str, path: str) -> dict[str, str] | None:
        """Return the named groups of the path, or None if this route does not match."""
        found = re.fullmatch(self.path_pattern, path) if method == self.method else None
        return found.groupdict() if found else None
