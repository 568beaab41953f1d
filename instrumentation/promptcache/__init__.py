"""OpenTelemetry instrumentation that shows what LLM prompt caching really does.

`promptcache run -- python app.py` needs no import. In a notebook or a program:

>>> import promptcache
>>> promptcache.record("calls.db")  # doctest: +SKIP

`Prompt`, `CacheTracker` and `lead` lay out prompts and count cache hits without OpenTelemetry. Each
name is loaded on first use, so that nobody pays for what he does not import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptcache.harness.cache_tracker import CacheTracker
    from promptcache.harness.chat import Chat
    from promptcache.harness.fan_out import lead
    from promptcache.harness.plan import Plan
    from promptcache.harness.prompt import Prompt
    from promptcache.harness.prompt_error import PromptError
    from promptcache.harness.tool import Tool
    from promptcache.instrumentor import PromptCacheInstrumentor
    from promptcache.settings import Settings
    from promptcache.telemetry.context_attributes import attributes
    from promptcache.version import __version__
    from promptcache_exporters.recording import record

__all__ = [
    "CacheTracker",
    "Chat",
    "Plan",
    "Prompt",
    "PromptCacheInstrumentor",
    "PromptError",
    "Settings",
    "Tool",
    "__version__",
    "attributes",
    "lead",
    "record",
]

if not TYPE_CHECKING:  # else a type checker would accept every name
    _MODULES = {
        "CacheTracker": ".harness.cache_tracker",
        "Chat": ".harness.chat",
        "Prompt": ".harness.prompt",
        "PromptCacheInstrumentor": ".instrumentor",
        "Plan": ".harness.plan",
        "PromptError": ".harness.prompt_error",
        "Settings": ".settings",
        "Tool": ".harness.tool",
        "__version__": ".version",
        "attributes": ".telemetry.context_attributes",
        "lead": ".harness.fan_out",
        "record": "promptcache_exporters.recording",
    }

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name], __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
