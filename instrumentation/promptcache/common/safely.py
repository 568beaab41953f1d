"""The only broad `except` of the project: no failure of ours becomes the application's. Imports next to nothing."""

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
    """Runs a step of ours and returns what it returns; where it fails, None. Never raises an `Exception`.

    The log names each kind of failure once, by its type and place: a message could hold the application's text.
    """
    try:
        return step(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # the one place: the application never notices
        frame = extract_tb(error.__traceback__)[-1]
        kind = (type(error).__name__, f"{frame.name}:{frame.lineno}")
        if kind not in _logged_failures:
            _logged_failures.add(kind)
            log.warning("promptcache failed with %s in %s; the application is not affected", *kind)
        return None
