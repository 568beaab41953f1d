"""A call with everything that is known of it: the input of attributes and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, final

from promptcache.model.prompt import ParsedPrompt, PrefixHashes
from promptcache.model.request import Request
from promptcache.model.response import ResponseFacts
from promptcache.model.usage import Cost, Usage
from promptcache.model.verdict import Verdict

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@final
class CallSite(NamedTuple):
    """The line of the application that made the call."""

    function: str
    file: str
    line: int


@final
class Call(NamedTuple):
    """Everything that is known of one call, as attributes and metrics read it.

    `time_to_first_chunk` and `duration` are in seconds from the start. `retries` counts resends.
    `error_type` is the exception's type name or the provider's error code. `context_attributes`
    are the attributes that the call inherits from its context. `batch_results` lists the results
    of a batch one by one, for a call that reads them. `links` is for the local table alone, and
    None without a recording.
    """

    request: Request
    facts: ResponseFacts
    verdict: Verdict
    prompt: ParsedPrompt | None = None
    prefix: PrefixHashes | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    call_site: CallSite | None = None
    error_type: str | None = None
    retries: int | None = None
    time_to_first_chunk: float | None = None
    duration: float = 0.0
    context_attributes: Mapping[str, str | bool | int | float] = _EMPTY
    batch_results: Sequence[str] = ()
    links: str | None = None
