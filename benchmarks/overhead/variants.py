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
HASH_ALL: Final = "promptcache, all hashed"


@dataclass(frozen=True)
class Variant:
    """One process's instrumentation; `peer` is the distribution that it comes from, None for ours and for none."""

    instrument: Callable[[], None]
    peer: str | None = None
    environment: Mapping[str, str] | None = None


def _no_op() -> None:
    pass


def _instrument_promptcache(**settings: Any) -> Callable[[], None]:
    def instrument() -> None:
        from promptcache import PromptCacheInstrumentor, Settings

        PromptCacheInstrumentor().instrument(settings=Settings(**settings))

    return instrument


def _peer_variant(distribution: str, module: str, kind: str) -> Variant:
    return Variant(lambda: getattr(import_module(module), kind)().instrument(), distribution)


def _instrument_openlit(sdk: str, kind: str) -> Callable[[], None]:
    """Its instrumentation of one SDK: it asks for older ones than there are, and runs with these, less its metrics."""

    def instrument() -> None:
        import_module("openlit").OpenlitConfig.reset_to_defaults()
        theirs = getattr(import_module(f"openlit.instrumentation.{sdk}"), kind)()
        theirs.instrument(skip_dep_check=True, disable_metrics=True)

    return instrument


def _all_variants(kind: str, sdk: str) -> dict[str, Variant]:
    found = {
        OURS: Variant(_instrument_promptcache()),
        HASH_ALL: Variant(_instrument_promptcache(hashes="all", hash_key="benchmark")),
        f"genai-{sdk}": _peer_variant(
            f"opentelemetry-instrumentation-genai-{sdk}",
            f"opentelemetry.instrumentation.genai.{sdk}",
            kind,
        ),
        "OpenInference": _peer_variant(
            f"openinference-instrumentation-{sdk}", f"openinference.instrumentation.{sdk}", kind
        ),
        "OpenLLMetry": _peer_variant(
            f"opentelemetry-instrumentation-{sdk}", f"opentelemetry.instrumentation.{sdk}", kind
        ),
        "OpenLIT": Variant(_instrument_openlit(sdk, kind), "openlit"),
    }
    return {
        name: variant
        for name, variant in found.items()
        if variant.peer is None or installed_release(variant.peer)
    }


def installed_release(distribution: str) -> str | None:
    """The release that is installed, if any is."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


VARIANTS: Final[Mapping[str, Mapping[str, Variant]]] = {
    "openai": {NONE: Variant(_no_op), **_all_variants("OpenAIInstrumentor", "openai")},
    # The SDK traces itself: everybody else comes on top of that.
    "anthropic": {
        NONE: Variant(_no_op, environment={"ANTHROPIC_OPEN_TELEMETRY": "false"}),
        NATIVE: Variant(_no_op),
        **_all_variants("AnthropicInstrumentor", "anthropic"),
    },
}


def baseline_of(sdk: str, variant: str) -> str:
    """What a variant is compared with."""
    return NATIVE if NATIVE in VARIANTS[sdk] and variant not in {NATIVE, NONE} else NONE
