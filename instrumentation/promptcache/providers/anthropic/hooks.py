"""The hooks of Anthropic's SDK, with its clients of other platforms.

From 1.14 on the SDK starts spans itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.patching.hook import Hook
from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.providers.anthropic import wire
from promptcache.providers.hosts import provider_of_client


def _sdk_opens_span(client: Any, options: Any) -> bool:
    """Return whether the SDK (1.14 and later) starts a span for this call.

    It does not for `client.post`, which has no span name.
    """
    has_tracer = getattr(client, "_tracer", None) is not None
    return has_tracer and bool(getattr(options, "span_name", None))


_SDK: Final = StainlessSDK(
    wire.ROUTES,
    provider_of_client=lambda client: provider_of_client(client) or "anthropic",
    client_decides_provider=lambda client: provider_of_client(client) is not None,
    opens_own_span=_sdk_opens_span,
    prompt_headers={"anthropic-beta": wire.BETAS_FIELD},
)
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "anthropic._base_client": StainlessHooks(_SDK).hooks
}
"""The hooks of each module of the SDK."""
