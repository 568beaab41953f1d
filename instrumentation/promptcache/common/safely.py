"""The only broad `except` of the project: a failure of ours never reaches the application."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

log = getLogger("promptcache")

P = ParamSpec("P")
T = TypeVar("T")

MAX_COUNTED_FAILURES: Final = 256

failure_counts: Final[dict[tuple[str, str], int]] = {}
"""How often each kind of failure happened, by type and place. With more kinds than that all counts
start again."""


def safely(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Call `step` and return its result; None if it raises an `Exception`, which is swallowed.

    The log names a kind of failure, by type and place, the first, the 10th, the 100th time and so
    on. It leaves the message out, since a message could hold text of the application.
    """
    try:
        return step(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # the one place that protects the application
        _log_failure(type(error).__name__, _place_of_failure(error.__traceback__))
        return None


def _log_failure(error_type: str, place: str) -> None:
    kind = (error_type, place)
    if len(failure_counts) >= MAX_COUNTED_FAILURES and kind not in failure_counts:
        failure_counts.clear()
    count = failure_counts[kind] = failure_counts.get(kind, 0) + 1
    if str(count).strip("0") == "1":
        log.warning(
            "promptcache failed with %s in %s (failure %d of this kind); "
            "the application is not affected",
            error_type,
            place,
            count,
        )


def _place_of_failure(traceback: TracebackType | None) -> str:
    """Return module, function and line of the innermost frame."""
    if traceback is None:
        return "an unknown place"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    module = frame.f_globals.get("__name__", "?")
    return f"{module}.{frame.f_code.co_qualname}:{traceback.tb_lineno}"
