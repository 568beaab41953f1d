"""What a process that is being examined says about itself: one JSON file for each process."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

from promptcache.instrumentor import PromptCacheInstrumentor
from promptcache.telemetry.call_counts import CALL_COUNTS

FACTS_VARIABLE: Final = "PROMPTCACHE_DOCTOR"
"""Set below `promptcache doctor -- COMMAND`: the folder of the files."""


def write_process_facts(*, is_at_end: bool) -> None:
    """Write the facts of this process, over those that it wrote before. Raises OSError."""
    folder = os.environ.get(FACTS_VARIABLE)
    if folder:
        file = Path(folder) / f"{os.getpid()}.json"
        file.write_text(json.dumps(_collect_facts() | {"is_at_end": is_at_end}), encoding="utf-8")


def read_process_facts(folder: Path) -> list[dict[str, Any]]:
    """Return the facts of all processes. A file that a kill left incomplete is left out."""
    facts: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*.json")):
        try:
            facts.append(json.loads(file.read_text(encoding="utf-8")))
        except ValueError:
            continue
    return facts


def _collect_facts() -> dict[str, Any]:
    provider = trace.get_tracer_provider()
    sampler = getattr(provider, "sampler", None)
    return {
        "python": sys.executable,
        "has_sdk": find_spec("opentelemetry.sdk") is not None,
        "sdks": PromptCacheInstrumentor.find_sdk_states(),
        "provider": f"{type(provider).__module__}.{type(provider).__qualname__}",
        "takes_processors": hasattr(provider, "add_span_processor"),
        "sampler": sampler.get_description() if sampler is not None else None,
        "observed_calls": CALL_COUNTS.observed,
        "suppressed_calls": CALL_COUNTS.suppressed,
    }
