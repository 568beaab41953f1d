"""The only broad `except` of the project: a failure of ours never reaches the application."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from traceback import extract_tb
from typing import ParamSpec, TypeVar

log = getLogger("promptcache")

P = ParamSpec("P")
T = TypeVar("T")

_logged_failures: set[tuple[str, str]] = set()


def safely(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Call `step` and return its result; None if it raises an `Exception`, which is swallowed.

    The log names each kind of failure once, by type and place. It leaves the message out, since a
    message could hold text of the application.
    """
    try:
        return step(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # the one place that protects the application
        frame = extract_tb(error.__traceback__)[-1]
        kind = (type(error).__name__, f"{frame.name}:{frame.lineno}")
        if kind not in _logged_failures:
            _logged_failures.add(kind)
            log.warning("promptcache failed with %s in %s; the application is not affected", *kind)
        return None
