"""OpenTelemetry instrumentation that shows what LLM prompt caching really does.

Under `opentelemetry-instrument` nothing needs to be imported. By hand:

>>> from promptcache import PromptCacheInstrumentor
>>> PromptCacheInstrumentor().instrument()  # doctest: +SKIP
"""

from .ambient import attributes
from .instrumentor import PromptCacheInstrumentor
from .settings import Settings
from .version import __version__

__all__ = ["PromptCacheInstrumentor", "Settings", "__version__", "attributes"]
