"""What a call inherits from where it is made: attributes of the user's choice, the agent, the line of code."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import Token
from functools import lru_cache
from pathlib import PurePath
from types import FrameType
from typing import Final, cast

from opentelemetry import baggage, context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from promptcache.attributes import AGENT_NAME, CONVERSATION, PROMPT_NAME, PROMPT_VERSION
from promptcache.model import Site
from promptcache.safety import safely

Scalar = str | bool | int | float

_KEY: Final = context.create_key("promptcache-attributes")
INHERITED: Final = (AGENT_NAME, CONVERSATION, PROMPT_NAME, PROMPT_VERSION)
"""What an ambient span (an agent, a workflow) may say of the calls inside it."""


@contextmanager
def attributes(values: Mapping[str, Scalar] | None = None, /, **more: Scalar) -> Generator[None]:
    """Gives every LLM call inside the block these span attributes, across threads and tasks that carry the context.

    >>> with attributes(team="search", experiment=7):
    ...     client.responses.create(...)  # doctest: +SKIP

    Keys listed in `OTEL_PROMPTCACHE_METRIC_KEYS` go to the metrics too. Blocks nest; the inner value wins.
    """
    token = safely(_give, {**(values or {}), **more})
    try:
        yield
    finally:
        if token is not None:
            safely(context.detach, token)


def _give(values: Mapping[str, Scalar]) -> Token[Context]:
    return context.attach(context.set_value(_KEY, {**_given(None), **values}))


def _given(ctx: Context | None) -> Mapping[str, Scalar]:
    return cast("Mapping[str, Scalar]", context.get_value(_KEY, ctx) or {})


def inherited(ctx: Context, span: Span, baggage_keys: tuple[str, ...]) -> dict[str, Scalar]:
    """The attributes that a call made in `ctx` under `span` inherits: span's, then baggage's, then the user's."""
    found: dict[str, Scalar] = {}
    around = cast("Mapping[str, Scalar]", getattr(span, "attributes", None) or {})
    for name in INHERITED:
        if name in around:
            found[name] = around[name]
    for key in baggage_keys:
        value = baggage.get_baggage(key, ctx)
        if isinstance(value, Scalar):
            found[key] = value
    found.update(_given(ctx))
    return found


_OURS: Final = os.path.dirname(__file__) + os.sep
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


@lru_cache(maxsize=1)
def _stdlib() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})


@lru_cache(maxsize=4096)
def _shown(filename: str) -> str | None:
    """The file as telemetry names it, relative to the working folder if inside; None for code that is not the app's."""
    if filename.startswith(("<frozen", _OURS)) or _INSTALLED & set(PurePath(filename).parts):
        return None
    if filename.startswith(_stdlib()):
        return None
    home = os.getcwd() + os.sep
    return filename.removeprefix(home)


def site() -> Site | None:
    """The innermost frame of the application on this thread's stack, None where there is none."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the documented way to a cheap stack walk
    while frame is not None:
        code = frame.f_code
        if (file := _shown(code.co_filename)) is not None:
            module = frame.f_globals.get("__name__", "")
            return Site(
                f"{module}.{code.co_qualname}" if module else code.co_qualname, file, frame.f_lineno
            )
        frame = frame.f_back
    return None


LOCKING: Final = (
    *(
        f"promptcache.{part}"
        for part in ("diagnose", "memory", "meters", "observer", "prices", "spans")
    ),
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "promptcache_exporters",
)
"""Whose code may hold a lock while it runs, our own and telemetry's."""


def telemetry_runs(frame: FrameType | None) -> bool:
    """Whether `frame`, or one below it on its stack, may hold a lock that the end of a call would take again.

    A finalizer runs wherever the garbage collector happens to, also in the middle of such code.
    """
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(LOCKING):
            return True
        frame = frame.f_back
    return False
