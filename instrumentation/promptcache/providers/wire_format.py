"""Define a wire format and the routes that lead to it.

A provider's `wire.py` builds a `WireFormat` from pure functions over plain data, and lists its
endpoints in `ROUTES`. Nothing here knows an SDK or OpenTelemetry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from promptcache.common.coerce import JSONObject
from promptcache.model import ParsedPrompt, Request, ResponseFacts, Usage


class WireFormat(NamedTuple):
    """The functions that read one wire format.

    `name` identifies the format (`openai.chat`), `operation` is OpenTelemetry's
    `gen_ai.operation.name`.

    `parse_prompt` reads the body of a request; None if the body holds no prompt. `parse_event`
    reads one response or one stream event; None if the event reports nothing. `parse_usage` reads
    the counters of the merged facts; None if the response reported no usage. `relevant_bytes` is
    found in every event that `parse_event` has to see once the response has output: it saves the
    parsing of all others. `is_last_event` tells the event that ends a stream; without such an event
    the end of the bytes does. `body_start` matches the first bytes of each body of JSON lines; a
    body that begins otherwise is another file and is not read. `is_retrievable` says that a later
    request can fetch the response again by its id.

    Two functions serve the provider's own cache diagnostics. `conversation_key` returns the part of
    a body that stays the same throughout a conversation; None if the body does not contain it.
    `with_diagnostics` takes the provider's name, a body and the id of the conversation's previous
    response; it returns the body with the request for a diagnosis added, None if diagnostics are
    not available.
    """

    name: str
    operation: str
    parse_prompt: Callable[[Request], ParsedPrompt | None]
    parse_event: Callable[[JSONObject], ResponseFacts | None]
    parse_usage: Callable[[ResponseFacts], Usage | None]
    relevant_bytes: re.Pattern[bytes] = re.compile(b"")
    is_last_event: Callable[[JSONObject], bool] = lambda event: False
    body_start: re.Pattern[bytes] | None = None
    is_retrievable: bool = False
    conversation_key: Callable[[JSONObject], object] = lambda body: None
    with_diagnostics: Callable[[str, JSONObject, str | None], JSONObject | None] = (
        lambda provider, body, previous: None
    )


def parse_no_prompt(request: Request) -> ParsedPrompt | None:
    """Return None: the request of a batch's results holds no prompt."""
    return None


class Route(NamedTuple):
    """An endpoint (HTTP method and end of the path) and its wire format.

    `is_retrieval` marks an endpoint that returns the response of an earlier call.
    `is_batch_results` marks an endpoint that returns the responses of many calls, one JSON object
    per line.
    """

    method: str
    path: re.Pattern[str]
    wire_format: WireFormat
    is_retrieval: bool = False
    is_batch_results: bool = False


def make_route(
    method: str,
    path: str,
    wire_format: WireFormat,
    *,
    is_retrieval: bool = False,
    is_batch_results: bool = False,
) -> Route:
    """Return a route. `path` is a regular expression for the last segments of the path, without the
    query."""
    pattern = re.compile(rf"(?:^|/){path}/?(?:\?.*)?$")
    return Route(method, pattern, wire_format, is_retrieval, is_batch_results)


def find_route(routes: Iterable[Route], method: str, url: str) -> Route | None:
    """Return the first route that serves `method` and `url` (relative or absolute)."""
    method = method.upper()
    for route in routes:
        if route.method == method and route.path.search(url):
            return route
    return None
