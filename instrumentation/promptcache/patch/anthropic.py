"""Anthropic's SDK, and its clients of other platforms: the generator's choke point, under the SDK's own span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.patch.drive import Target
from promptcache.patch.stainless import SDK, Stainless
from promptcache.providers import anthropic

PLATFORMS: Final = (
    ("Bedrock", "aws.bedrock"),
    ("Vertex", "gcp.vertex_ai"),
    ("Foundry", "anthropic"),
    ("AWS", "anthropic"),
    ("GoogleCloud", "anthropic"),
)
"""What the names of its other client classes hold, and whose models they call, as its own spans say."""


def _platform(client: Any) -> str | None:
    names = " ".join(base.__name__ for base in type(client).__mro__)
    return next((provider for word, provider in PLATFORMS if word in names), None)


def _traces_itself(client: Any, options: Any) -> bool:
    """Whether the SDK (1.14 and later) opens a span for this call: `client.post` names none."""
    return getattr(client, "_tracer", None) is not None and bool(
        getattr(options, "span_name", None)
    )


_SDK: Final = SDK(
    anthropic.ROUTES,
    provider=lambda client: _platform(client) or "anthropic",
    sure=lambda client: _platform(client) is not None,
    defer=_traces_itself,
    headers={"anthropic-beta": anthropic.BETAS},
)
TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "anthropic._base_client": Stainless(_SDK).targets
}
