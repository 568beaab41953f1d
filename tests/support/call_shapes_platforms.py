"""Anthropic's client classes for Claude on other platforms, with their URLs and stream framing."""

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
    """One client class and its async twin: module, name, options, provider and path."""

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
    """Yield the client class and its async twin if this release has them."""
    try:
        module = import_module(f"anthropic.lib.{platform.module}")
    except ImportError:
        return
    for name in (platform.name, f"Async{platform.name}"):
        if hasattr(module, name):
            yield getattr(module, name)


def _build_kit(
    clients_by_kind: Iterable[tuple[str, Callable[..., Any], Platform]],
) -> dict[str, Any]:
    clients = list(clients_by_kind)
    return {
        "shapes": SHAPES,
        "clients": {
            kind: client_factory(client_class, platform.path, **platform.options, **TRACED_OPTIONS)
            for kind, client_class, platform in clients
        },
        "providers": {kind: platform.provider for kind, _, platform in clients},
    }


KITS: Final[Mapping[str, Mapping[str, Any]]] = {
    "bedrock-claude": {
        **_build_kit(
            zip(("sync", "async"), client_classes(BEDROCK), repeat(BEDROCK), strict=False)
        ),
        **ENDINGS,
    },
    "claude": _build_kit(
        (client_class.__name__, client_class, platform)
        for platform in OTHER_PLATFORMS
        for client_class in client_classes(platform)
    ),
}
"""Bedrock's stream framing differs, so its stream endings are tested too."""
