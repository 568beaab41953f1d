"""The hooks of Anthropic's SDK, with its clients of other platforms.

From 1.14 on the SDK starts spans itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.patching.hook import Hook
from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.providers.anthropic import wire

PLATFORM_PROVIDERS: Final = (
    ("Bedrock", "aws.bedrock"),
    ("Vertex", "gcp.vertex_ai"),
    ("Foundry", "anthropic"),
    ("AWS", "anthropic"),
    ("GoogleCloud", "anthropic"),
)
"""A part of a client class's name, and the provider that the SDK's own spans name for that
client."""


def _platform_provider(client: Any) -> str | None:
    class_names = " ".join(base.__name__ for base in type(client).__mro__)
    return next((provider for part, provider in PLATFORM_PROVIDERS if part in class_names), None)


def _sdk_opens_span(client: Any, options: Any) -> bool:
    """Return whether the SDK (1.14 and later) starts a span for this call.

    It does not for `client.post`, which has no span name.
    """
    has_tracer = getattr(client, "_tracer", None) is not None
    return has_tracer and bool(getattr(options, "span_name", None))


_SDK: Final = StainlessSDK(
    wire.ROUTES,
    provider_of_client=lambda client: _platform_provider(client) or "anthropic",
    client_decides_provider=lambda client: _platform_provider(client) is not None,
    opens_own_span=_sdk_opens_span,
    prompt_headers={"anthropic-beta": wire.BETAS_FIELD},
)
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "anthropic._base_client": StainlessHooks(_SDK).hooks
}
"""The hooks of each module of the SDK."""
