"""Anthropic's SDK, and its clients of other platforms: the generator's choke point, under the SDK's own span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.patching.wrapping import Hook
from promptcache.providers.anthropic import wire as anthropic

PLATFORM_PROVIDERS: Final = (
    ("Bedrock", "aws.bedrock"),
    ("Vertex", "gcp.vertex_ai"),
    ("Foundry", "anthropic"),
    ("AWS", "anthropic"),
    ("GoogleCloud", "anthropic"),
)
"""What the names of its other client classes hold, and whose models they call, as its own spans say."""


def _platform_provider(client: Any) -> str | None:
    names = " ".join(base.__name__ for base in type(client).__mro__)
    return next((provider for word, provider in PLATFORM_PROVIDERS if word in names), None)


def _sdk_opens_span(client: Any, options: Any) -> bool:
    """Whether the SDK (1.14 and later) opens a span for this call: `client.post` names none."""
    return getattr(client, "_tracer", None) is not None and bool(
        getattr(options, "span_name", None)
    )


_SDK: Final = StainlessSDK(
    anthropic.ROUTES,
    provider_of_client=lambda client: _platform_provider(client) or "anthropic",
    client_decides_provider=lambda client: _platform_provider(client) is not None,
    opens_own_span=_sdk_opens_span,
    prompt_headers={"anthropic-beta": anthropic.BETAS_FIELD},
)
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "anthropic._base_client": StainlessHooks(_SDK).hooks
}
