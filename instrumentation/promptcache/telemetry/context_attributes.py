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

from promptcache.common.safely import safely
from promptcache.model import CallSite
from promptcache.semconv import (
    GEN_AI_AGENT_NAME,
    GEN_AI_CONVERSATION_ID,
    GEN_AI_PROMPT_NAME,
    GEN_AI_PROMPT_VERSION,
)

Scalar = str | bool | int | float

_CONTEXT_KEY: Final = context.create_key("promptcache-attributes")
INHERITED_ATTRIBUTES: Final = (
    GEN_AI_AGENT_NAME,
    GEN_AI_CONVERSATION_ID,
    GEN_AI_PROMPT_NAME,
    GEN_AI_PROMPT_VERSION,
)
"""What an ambient span (an agent, a workflow) may say of the calls inside it."""


@contextmanager
def attributes(values: Mapping[str, Scalar] | None = None, /, **more: Scalar) -> Generator[None]:
    """Gives every LLM call inside the block these span attributes, across threads and tasks that carry the context.

    >>> with attributes(team="search", experiment=7):
    ...     client.responses.create(...)  # doctest: +SKIP

    Keys listed in `OTEL_PROMPTCACHE_METRIC_KEYS` go to the metrics too. Blocks nest; the inner value wins.
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
    """The attributes that a call made in `ctx` under `span` inherits: span's, then baggage's, then the user's."""
    found: dict[str, Scalar] = {}
    around = cast("Mapping[str, Scalar]", getattr(span, "attributes", None) or {})
    for name in INHERITED_ATTRIBUTES:
        if name in around:
            found[name] = around[name]
    for key in baggage_keys:
        value = baggage.get_baggage(key, ctx)
        if isinstance(value, Scalar):
            found[key] = value
    found.update(_attached_attributes(ctx))
    return found


_PACKAGE_FOLDER: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
_INSTALL_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})


@lru_cache(maxsize=1)
def _stdlib_folders() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})


@lru_cache(maxsize=4096)
def _application_path(filename: str) -> str | None:
    """The file as telemetry names it, relative to the working folder if inside; None for code that is not the app's."""
    if filename.startswith(("<frozen", _PACKAGE_FOLDER)) or _INSTALL_FOLDERS & set(
        PurePath(filename).parts
    ):
        return None
    if filename.startswith(_stdlib_folders()):
        return None
    home = os.getcwd() + os.sep
    return filename.removeprefix(home)


def find_call_site() -> CallSite | None:
    """The innermost frame of the application on this thread's stack, None where there is none."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the documented way to a cheap stack walk
    while frame is not None:
        code = frame.f_code
        if (file := _application_path(code.co_filename)) is not None:
            module = frame.f_globals.get("__name__", "")
            return CallSite(
                f"{module}.{code.co_qualname}" if module else code.co_qualname, file, frame.f_lineno
            )
        frame = frame.f_back
    return None


LOCK_HOLDING_MODULES: Final = (
    *(
        f"promptcache.{part}"
        for part in (
            "diagnosis",
            "prices",
            "telemetry.handler",
            "telemetry.metrics",
            "telemetry.spans",
        )
    ),
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "promptcache_exporters",
)
"""Whose code may hold a lock while it runs, our own and telemetry's."""


def lock_may_be_held(frame: FrameType | None) -> bool:
    """Whether `frame`, or one below it on its stack, may hold a lock that the end of a call would take again.

    A finalizer runs wherever the garbage collector happens to, also in the middle of such code.
    """
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(LOCK_HOLDING_MODULES):
            return True
        frame = frame.f_back
    return False
