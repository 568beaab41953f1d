"""Anthropic's other client classes: Claude on somebody else's platform, over that platform's URLs and framing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import repeat
from typing import Any, Final, NamedTuple

from tests.support.call_shapes import Shape
from tests.support.call_shapes_anthropic import (
    ENDINGS,
    TRACED_OPTIONS,
    beta,
    client_factory,
    create,
    helper_final,
    helper_text,
    raw,
    raw_stream,
    raw_unparsed,
    stream,
    streamed_events,
    streamed_parse,
    streamed_unread,
    with_options,
)

SHAPES: Final = tuple(
    Shape(use.__name__, use, reported=use is not streamed_unread)
    for use in (
        create,
        stream,
        beta,
        helper_text,
        helper_final,
        raw,
        raw_unparsed,
        raw_stream,
        streamed_parse,
        streamed_events,
        streamed_unread,
        with_options,
    )
)

AWS_CREDENTIALS: Final = {"aws_access_key": "a", "aws_secret_key": "s", "aws_region": "us-east-1"}


class Platform(NamedTuple):
    """One client class and its async twin: where it is, how it is made, whose models it calls, and at which path."""

    module: str
    name: str
    options: Mapping[str, Any]
    provider: str
    path: str = ""


BEDROCK: Final = Platform("bedrock", "AnthropicBedrock", AWS_CREDENTIALS, "aws.bedrock")
OTHER_PLATFORMS: Final = (
    Platform("bedrock", "AnthropicBedrockMantle", AWS_CREDENTIALS, "aws.bedrock", "/anthropic"),
    Platform(
        "vertex",
        "AnthropicVertex",
        {"access_token": "t", "region": "us-east5", "project_id": "p"},
        "gcp.vertex_ai",
        "/v1",
    ),
    Platform("foundry", "AnthropicFoundry", {"api_key": "k"}, "anthropic", "/anthropic"),
    Platform("aws", "AnthropicAWS", {**AWS_CREDENTIALS, "workspace_id": "w"}, "anthropic"),
    Platform(
        "google_cloud",
        "AnthropicGoogleCloud",
        {"token_provider": lambda: "t", "workspace_id": "w"},
        "anthropic",
    ),
)


def client_classes(platform: Platform) -> Iterator[Callable[..., Any]]:
    """The client and its async twin, where this release has them."""
    try:
        module = import_module(f"anthropic.lib.{platform.module}")
    except ImportError:
        return
    for name in (platform.name, f"Async{platform.name}"):
        if hasattr(module, name):
            yield getattr(module, name)


def _build_kit(kinds: Iterable[tuple[str, Callable[..., Any], Platform]]) -> dict[str, Any]:
    found = list(kinds)
    return {
        "shapes": SHAPES,
        "clients": {
            kind: client_factory(made, on.path, **on.options, **TRACED_OPTIONS)
            for kind, made, on in found
        },
        "providers": {kind: on.provider for kind, _, on in found},
    }


KITS: Final[Mapping[str, Mapping[str, Any]]] = {
    "bedrock-claude": {
        **_build_kit(
            zip(("sync", "async"), client_classes(BEDROCK), repeat(BEDROCK), strict=False)
        ),
        **ENDINGS,
    },
    "claude": _build_kit(
        (made.__name__, made, on) for on in OTHER_PLATFORMS for made in client_classes(on)
    ),
}
"""Bedrock's streams have a framing of their own, so its endings are tried too; the others end as Anthropic's do."""
