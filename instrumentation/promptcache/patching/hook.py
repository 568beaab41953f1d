"""A hook names one function of an SDK and the code of ours that runs around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from promptcache.patching.flow import Flow
from promptcache.telemetry.handler import TelemetryHandler

FlowFunction = Callable[[TelemetryHandler, Any, Mapping[str, Any]], Flow]
"""Start the flow around one call. Parameters: the handler, the object whose method is called, the
arguments by name."""


@dataclass(slots=True)
class HandlerRef:
    """The active handler of all wrappers of one module; None while instrumentation is off."""

    handler: TelemetryHandler | None = None


class Hook(NamedTuple):
    """One function to wrap: method `method_name` of class `class_name`.

    `parameters` are the ones that our code reads. If `is_optional`, the function does not exist in
    every supported release, and nothing is logged if it is missing.
    """

    class_name: str
    method_name: str
    parameters: tuple[str, ...]
    around_call: FlowFunction
    is_optional: bool = False


def is_compatible(original: object, hook: Hook) -> TypeGuard[Callable[..., Any]]:
    """Return whether the function exists and has all parameters that our code reads."""
    return (
        inspect.isfunction(original)
        and set(hook.parameters) <= inspect.signature(original).parameters.keys()
    )
