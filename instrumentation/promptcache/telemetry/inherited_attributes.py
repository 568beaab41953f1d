"""Attributes that a call inherits: from the span around it, from baggage, and from the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.trace import Span

from promptcache import semconv
from promptcache.telemetry.context_attributes import Scalar, attached_attributes

_COPIED_FROM_SPAN: Final = (
    semconv.GEN_AI_AGENT_NAME,
    semconv.GEN_AI_CONVERSATION_ID,
    semconv.GEN_AI_PROMPT_NAME,
    semconv.GEN_AI_PROMPT_VERSION,
)
"""Attributes that a call copies from the span around it (of an agent, of a workflow)."""


def inherited_attributes(
    ctx: Context, span: Span, baggage_keys: tuple[str, ...]
) -> dict[str, Scalar]:
    """Return the attributes that a call in `ctx` under `span` inherits.

    The user's attributes win over baggage, and baggage wins over the attributes of `span`.
    """
    inherited: dict[str, Scalar] = {}
    of_span = cast("Mapping[str, Scalar]", getattr(span, "attributes", None) or {})
    for name in _COPIED_FROM_SPAN:
        if name in of_span:
            inherited[name] = of_span[name]
    for key in baggage_keys:
        value = baggage.get_baggage(key, ctx)
        if isinstance(value, Scalar):
            inherited[key] = value
    inherited.update(attached_attributes(ctx))
    return inherited
