"""The instrumentations that are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

CONTROL: Final = "control"
OURS: Final = "promptcache"
HASH_ALL: Final = "promptcache, all hashed"
GENAI_METRICS: Final = "promptcache, GenAI metrics"


@dataclass(frozen=True)
class Variant:
    """The instrumentation of one process.

    `peer` is the distribution of another project; None for ours and for the control.
    """

    instrument: Callable[[], None]
    peer: str | None = None


def _no_op() -> None:
    pass


def _instrument_promptcache(**settings: Any) -> Callable[[], None]:
    def instrument() -> None:
        from promptcache import PromptCacheInstrumentor, Settings

        PromptCacheInstrumentor().instrument(settings=Settings(**settings))

    return instrument


def _peer_variant(distribution: str, module: str, class_name: str) -> Variant:
    return Variant(lambda: getattr(import_module(module), class_name)().instrument(), distribution)


def _instrument_openlit(sdk: str, class_name: str) -> Callable[[], None]:
    """Return a function that enables OpenLIT for one SDK, without its metrics.

    OpenLIT requires older releases of the SDKs than the installed ones, but it works with them.
    """

    def instrument() -> None:
        import_module("openlit").OpenlitConfig.reset_to_defaults()
        instrumentor = getattr(import_module(f"openlit.instrumentation.{sdk}"), class_name)()
        instrumentor.instrument(skip_dep_check=True, disable_metrics=True)

    return instrument


def _installed_variants(class_name: str, sdk: str) -> dict[str, Variant]:
    variants = {
        OURS: Variant(_instrument_promptcache()),
        HASH_ALL: Variant(_instrument_promptcache(hashes="all", hash_key="benchmark")),
        GENAI_METRICS: Variant(_instrument_promptcache(genai_metrics=True)),
        f"genai-{sdk}": _peer_variant(
            f"opentelemetry-instrumentation-genai-{sdk}",
            f"opentelemetry.instrumentation.genai.{sdk}",
            class_name,
        ),
        "OpenInference": _peer_variant(
            f"openinference-instrumentation-{sdk}",
            f"openinference.instrumentation.{sdk}",
            class_name,
        ),
        "OpenLLMetry": _peer_variant(
            f"opentelemetry-instrumentation-{sdk}",
            f"opentelemetry.instrumentation.{sdk}",
            class_name,
        ),
        "OpenLIT": Variant(_instrument_openlit(sdk, class_name), "openlit"),
    }
    return {
        name: variant
        for name, variant in variants.items()
        if variant.peer is None or installed_release(variant.peer)
    }


def installed_release(distribution: str) -> str | None:
    """Return the installed release, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


VARIANTS: Final[Mapping[str, Mapping[str, Variant]]] = {
    "openai": {CONTROL: Variant(_no_op), **_installed_variants("OpenAIInstrumentor", "openai")},
    # The anthropic SDK opens a span by itself. All variants run in addition to this span.
    "anthropic": {
        CONTROL: Variant(_no_op),
        **_installed_variants("AnthropicInstrumentor", "anthropic"),
    },
}
