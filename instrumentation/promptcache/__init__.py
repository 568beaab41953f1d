"""OpenTelemetry instrumentation that shows what LLM prompt caching really does.

`opentelemetry-instrument` needs no import. By hand:

>>> from promptcache import PromptCacheInstrumentor
>>> PromptCacheInstrumentor().instrument()  # doctest: +SKIP
"""

from promptcache.instrumentor import PromptCacheInstrumentor
from promptcache.settings import Settings
from promptcache.telemetry.context_attributes import attributes
from promptcache.version import __version__

__all__ = ["PromptCacheInstrumentor", "Settings", "__version__", "attributes"]
