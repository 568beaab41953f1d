"""Span attributes that the application attaches to the OpenTelemetry context.

This module is loaded at every start, so it imports nothing but `safely`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import Token
from typing import Final, cast

from opentelemetry import context
from opentelemetry.context import Context

from promptcache.common.safely import safely

Scalar = str | bool | int | float

_CONTEXT_KEY: Final = context.create_key("promptcache-attributes")


@contextmanager
def attributes(values: Mapping[str, Scalar] | None = None, /, **more: Scalar) -> Generator[None]:
    """Set span attributes on every LLM call inside the block.

    They travel with the OpenTelemetry context, so they also reach threads and tasks that carry it.

    >>> with attributes(team="search", experiment=7):
    ...     client.responses.create(...)  # doctest: +SKIP

    Metrics carry the keys that `OTEL_PROMPTCACHE_METRIC_KEYS` lists. Blocks nest; the inner value
    wins.
    """
    token = safely(_attach_attributes, {**(values or {}), **more})
    try:
        yield
    finally:
        if token is not None:
            safely(context.detach, token)


def attached_attributes(ctx: Context | None) -> Mapping[str, Scalar]:
    """Return the attributes that `attributes` has attached to `ctx`, by default the current one."""
    return cast("Mapping[str, Scalar]", context.get_value(_CONTEXT_KEY, ctx) or {})


def _attach_attributes(values: Mapping[str, Scalar]) -> Token[Context]:
    return context.attach(context.set_value(_CONTEXT_KEY, {**attached_attributes(None), **values}))
