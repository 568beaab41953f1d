"""What is known of a call before its body is read."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, final

from promptcache.common.coerce import JSONObject
from promptcache.model import Request
from promptcache.providers.wire_format import WireFormat


class SpanPolicy(Enum):
    """The moment at which a call gets its span."""

    AT_START = "at start"
    WITH_SDK_SPAN = "with SDK span"
    """When the request is sent: the SDK has then started a span of its own."""
    AT_FINISH = "at finish"
    """A retrieval gets a span only if it has news."""


@final
class RequestInfo(NamedTuple):
    """A call before its body is known: enough for a sampler to decide on.

    `is_retrieval` marks a call that returns an earlier response again. `batch_results_url` is the
    URL of a batch's results if the call returns them. `has_sdk_span` is True if the SDK is about to
    start a span of its own for the call.
    """

    wire_format: WireFormat
    provider: str
    model: str | None
    host: str | None
    port: int | None
    stream: bool
    is_retrieval: bool = False
    batch_results_url: str | None = None
    has_sdk_span: bool = False

    @property
    def span_policy(self) -> SpanPolicy:
        """The moment at which the call gets its span."""
        if self.is_retrieval:
            return SpanPolicy.AT_FINISH
        return SpanPolicy.WITH_SDK_SPAN if self.has_sdk_span else SpanPolicy.AT_START

    def to_request(self, body: JSONObject, cache_scope: bytes, started_at: float) -> Request:
        """Return the request of this call with `body` and the digest of its credential."""
        return Request(
            wire_format_name=self.wire_format.name,
            provider=self.provider,
            operation=self.wire_format.operation,
            model=self.model,
            host=self.host,
            port=self.port,
            stream=self.stream,
            body=body,
            cache_scope=cache_scope,
            started_at=started_at,
        )
