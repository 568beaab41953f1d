"""OpenTelemetry instrumentation that shows what LLM prompt caching really does.

`promptcache run -- python app.py` needs no import. In a notebook or a program:

>>> import promptcache
>>> promptcache.record("calls.db")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from promptcache.instrumentor import PromptCacheInstrumentor
from promptcache.settings import Settings
from promptcache.telemetry.context_attributes import attributes
from promptcache.version import __version__

if TYPE_CHECKING:
    from promptcache_exporters.recording import record

__all__ = ["PromptCacheInstrumentor", "Settings", "__version__", "attributes", "record"]


def __getattr__(name: str) -> Any:
    # Production code that records nothing never loads the recorder.
    if name != "record":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from promptcache_exporters.recording import record

    return record
