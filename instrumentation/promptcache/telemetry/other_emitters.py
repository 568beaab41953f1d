"""Other instrumentations that emit OpenTelemetry's GenAI client metrics for the same calls."""

from __future__ import annotations

import sys
from logging import getLogger
from typing import Final

log = getLogger("promptcache")

_EMITTERS: Final = (
    "opentelemetry.util.genai",
    "opentelemetry.instrumentation.openai_v2",
    "opentelemetry.instrumentation.openai",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.bedrock",
    "opentelemetry.instrumentation.botocore",
    "opentelemetry.instrumentation.vertexai",
    "opentelemetry.instrumentation.google_genai",
    "openlit",
)
"""Modules of the official instrumentations, of OpenLLMetry and of OpenLIT."""


def warn_of_other_emitters() -> None:
    """Log which loaded instrumentations may emit the same metrics: tokens would count twice.

    A loaded module need not be switched on, so this is a warning and changes nothing.
    """
    found = [name for name in _EMITTERS if name in sys.modules]
    if found:
        log.warning(
            "OTEL_PROMPTCACHE_GENAI_METRICS is on beside %s: if that emits "
            "gen_ai.client.token.usage too, every token counts twice",
            ", ".join(found),
        )
