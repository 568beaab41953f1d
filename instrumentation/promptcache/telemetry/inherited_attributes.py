"""Attributes that a call inherits: from the spans around it, from baggage, and from the user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.trace import Span

from promptcache import semconv
from promptcache.telemetry.context_attributes import Scalar, attached_attributes

_COPIED_FROM_PARENT: Final = (semconv.GEN_AI_PROMPT_NAME, semconv.GEN_AI_PROMPT_VERSION)
"""Attributes that a call copies from the span around it: a prompt belongs to one call."""
_COPIED_FROM_ANCESTORS: Final = (semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_CONVERSATION_ID)
"""Attributes that a call copies from the nearest span around it that has them."""
_AGENT_SPANS: Final = (
    ("openinference.span.kind", "AGENT", "agent.name"),
    ("traceloop.span.kind", "agent", "traceloop.entity.name"),
)
"""How other conventions mark the span of an agent, and the attribute with its name."""


def inherited_attributes(
    ctx: Context, lineage: Iterator[Span], baggage_keys: tuple[str, ...]
) -> dict[str, Scalar]:
    """Return the attributes that a call in `ctx` inherits.

    `lineage` is the span around it and the ancestors of that span, the nearest first. The user's
    attributes win over baggage, and baggage wins over the attributes of spans.
    """
    inherited = _attributes_of_lineage(lineage)
    for key in baggage_keys:
        value = baggage.get_baggage(key, ctx)
        if isinstance(value, Scalar):
            inherited[key] = value
    inherited.update(attached_attributes(ctx))
    return inherited


def _attributes_of_lineage(lineage: Iterator[Span]) -> dict[str, Scalar]:
    inherited: dict[str, Scalar] = {}
    names: tuple[str, ...] = _COPIED_FROM_PARENT + _COPIED_FROM_ANCESTORS
    for span in lineage:
        of_span = cast("Mapping[str, Scalar] | None", getattr(span, "attributes", None))
        if not of_span:
            continue
        for name in names:
            if name in of_span:
                inherited.setdefault(name, of_span[name])
        if semconv.GEN_AI_AGENT_NAME not in inherited and (agent := _agent_name(of_span)):
            inherited[semconv.GEN_AI_AGENT_NAME] = agent
        names = tuple(name for name in _COPIED_FROM_ANCESTORS if name not in inherited)
        if not names:
            break
    return inherited


def _agent_name(of_span: Mapping[str, Scalar]) -> Scalar | None:
    """Return the name of the agent that a span of another convention belongs to."""
    for mark, kind, name in _AGENT_SPANS:
        if of_span.get(mark) == kind:
            return of_span.get(name)
    return None
