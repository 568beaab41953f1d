"""What is known of a call before its body is read."""

from __future__ import annotations

from typing import NamedTuple, final

from promptcache.common.coerce import JSONObject
from promptcache.model import Request
from promptcache.providers.wire_format import WireFormat


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
