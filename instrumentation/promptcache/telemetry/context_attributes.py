"""Attributes that a call inherits from its context: the user's, baggage, and the agent's span."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import Token
from typing import Final, cast

from opentelemetry import baggage, context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from promptcache import semconv
from promptcache.common.safely import safely

Scalar = str | bool | int | float

_CONTEXT_KEY: Final = context.create_key("promptcache-attributes")
INHERITED_ATTRIBUTES: Final = (
    semconv.GEN_AI_AGENT_NAME,
    semconv.GEN_AI_CONVERSATION_ID,
    semconv.GEN_AI_PROMPT_NAME,
    semconv.GEN_AI_PROMPT_VERSION,
)
"""Attributes that a call copies from the span around it (of an agent, of a workflow)."""


@contextmanager
def attributes(values: Mapping[str, Scalar] | None = None, /, **more: Scalar) -> Generator[None]:
    """Set span attributes on every LLM call inside the block.

    They travel with the OpenTelemetry context, so they also reach threads and tasks that carry it.

    >>> with attributes(team="search", experiment=7):
    ...     client.responses.create(...)  # doctest: +SKIP

    Metrics carry the keys that `OTEL_PROMPTCACHE_METRIC_KEYS` lists. Blocks nest; the inner value
    wins. Never raises.
    """
    token = safely(_attach_attributes, {**(values or {}), **more})
    try:
        yield
    finally:
        if token is not None:
            safely(context.detach, token)


def _attach_attributes(values: Mapping[str, Scalar]) -> Token[Context]:
    return context.attach(context.set_value(_CONTEXT_KEY, {**_attached_attributes(None), **values}))


def _attached_attributes(ctx: Context | None) -> Mapping[str, Scalar]:
    return cast("Mapping[str, Scalar]", context.get_value(_CONTEXT_KEY, ctx) or {})


def inherited_attributes(
    ctx: Context, span: Span, baggage_keys: tuple[str, ...]
) -> dict[str, Scalar]:
    """Return the attributes that a call in `ctx` under `span` inherits.

    The user's attributes win over baggage, and baggage wins over the attributes of `span`.
    """
    inherited: dict[str, Scalar] = {}
    of_span = cast("Mapping[str, Scalar]", getattr(span, "attributes", None) or {})
    for name in INHERITED_ATTRIBUTES:
        if name in of_span:
            inherited[name] = of_span[name]
    for key in baggage_keys:
        value = baggage.get_baggage(key, ctx)
        if isinstance(value, Scalar):
            inherited[key] = value
    inherited.update(_attached_attributes(ctx))
    return inherited
