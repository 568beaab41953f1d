"""Follow a suspended task through its coroutines, the outermost first."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Any, Final, cast

_MAX_COROUTINES: Final = 64
"""How many coroutines of one task are looked at."""
_FRAMES: Final = ("cr_frame", "gi_frame", "ag_frame")
_CODES: Final = ("cr_code", "gi_code", "ag_code")
_AWAITED: Final = ("cr_await", "gi_yieldfrom", "ag_await")


def coroutines_of_task(task: Any) -> Iterator[Any]:
    """Yield the coroutines and generators of a task that waits, each awaits the next."""
    get_coroutine = getattr(task, "get_coro", None)
    one = get_coroutine() if get_coroutine is not None else None
    for _ in range(_MAX_COROUTINES):
        one = _generator_of_step(one) or one
        if code_of_coroutine(one) is None:  # nothing, or the future at the end
            return
        yield one
        one = _first_attribute(one, _AWAITED)


def code_of_coroutine(one: Any) -> CodeType | None:
    """Return the code of a coroutine or generator, None of anything else."""
    code: CodeType | None = _first_attribute(one, _CODES)
    return code


def frame_of_coroutine(one: Any) -> FrameType | None:
    """Return the frame of a coroutine or generator, None if it has none."""
    frame: FrameType | None = _first_attribute(one, _FRAMES)
    return frame


def _generator_of_step(one: Any) -> Any:
    """Return the generator of the object that `__anext__` or `asend` of one returns."""
    if not type(one).__name__.startswith("async_generator_"):
        return None
    for held in gc.get_referents(one):
        if isinstance(held, AsyncGeneratorType):
            return cast("Any", held)
    return None


def _first_attribute(one: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        value = getattr(one, name, None)
        if value is not None:
            return value
    return None
