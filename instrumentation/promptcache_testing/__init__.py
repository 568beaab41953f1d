"""Find cache regressions in pytest: answer SDKs from an emulator in the process, and check.

pytest loads `plugin` by its entry point. It imports the rest when a test needs it, so a session
that does not use it pays nothing. The names below are loaded on first use for the same reason.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from promptcache_testing.answers import AnswerRequest, ToolCall
    from promptcache_testing.errors import BlockedRequestError, CacheRegressionError
    from promptcache_testing.fixture import PromptCacheFixture

__all__ = [
    "AnswerRequest",
    "BlockedRequestError",
    "CacheRegressionError",
    "PromptCacheFixture",
    "ToolCall",
]

_MODULES: Final = {
    "AnswerRequest": "answers",
    "BlockedRequestError": "errors",
    "CacheRegressionError": "errors",
    "PromptCacheFixture": "fixture",
    "ToolCall": "answers",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
