"""What is switched on in a process, beside which tracer and meter provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

NONE: Final = "none"
NATIVE: Final = "native span"
OURS: Final = "promptcache"
HASHED: Final = "promptcache, all hashed"


@dataclass(frozen=True)
class Variant:
    """One process's instrumentation; `peer` is the distribution that it comes from, None for ours and for none."""

    instrument: Callable[[], None]
    peer: str | None = None
    environment: Mapping[str, str] | None = None


def _nothing() -> None:
    pass


def _ours(**settings: Any) -> Callable[[], None]:
    def instrument() -> None:
        from promptcache import PromptCacheInstrumentor, Settings

        PromptCacheInstrumentor().instrument(settings=Settings(**settings))

    return instrument


def _theirs(distribution: str, module: str, kind: str) -> Variant:
    return Variant(lambda: getattr(import_module(module), kind)().instrument(), distribution)


def _openlit(sdk: str, kind: str) -> Callable[[], None]:
    """Its instrumentation of one SDK: it asks for older ones than there are, and runs with these, less its metrics."""

    def instrument() -> None:
        import_module("openlit").OpenlitConfig.reset_to_defaults()
        theirs = getattr(import_module(f"openlit.instrumentation.{sdk}"), kind)()
        theirs.instrument(skip_dep_check=True, disable_metrics=True)

    return instrument


def _all(kind: str, sdk: str) -> dict[str, Variant]:
    found = {
        OURS: Variant(_ours()),
        HASHED: Variant(_ours(hashes="all", hash_key="benchmark")),
        f"genai-{sdk}": _theirs(
            f"opentelemetry-instrumentation-genai-{sdk}",
            f"opentelemetry.instrumentation.genai.{sdk}",
            kind,
        ),
        "OpenInference": _theirs(
            f"openinference-instrumentation-{sdk}", f"openinference.instrumentation.{sdk}", kind
        ),
        "OpenLLMetry": _theirs(
            f"opentelemetry-instrumentation-{sdk}", f"opentelemetry.instrumentation.{sdk}", kind
        ),
        "OpenLIT": Variant(_openlit(sdk, kind), "openlit"),
    }
    return {
        name: variant
        for name, variant in found.items()
        if variant.peer is None or released(variant.peer)
    }


def released(distribution: str) -> str | None:
    """The release that is installed, if any is."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


VARIANTS: Final[Mapping[str, Mapping[str, Variant]]] = {
    "openai": {NONE: Variant(_nothing), **_all("OpenAIInstrumentor", "openai")},
    # The SDK traces itself: everybody else comes on top of that.
    "anthropic": {
        NONE: Variant(_nothing, environment={"ANTHROPIC_OPEN_TELEMETRY": "false"}),
        NATIVE: Variant(_nothing),
        **_all("AnthropicInstrumentor", "anthropic"),
    },
}


def base(sdk: str, variant: str) -> str:
    """What a variant is compared with."""
    return NATIVE if NATIVE in VARIANTS[sdk] and variant not in {NATIVE, NONE} else NONE
