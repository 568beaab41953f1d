"""Check the key of the user's recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from promptcache.settings import OTEL_PROMPTCACHE_KEY_FILE
from promptcache_exporters.doctor.finding import Finding, warning
from promptcache_exporters.recording.key_file import find_key_problem


def check_key_file(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield why the key file cannot be used, if it is there."""
    if problem := find_key_problem(environ):
        yield warning(
            "key-file",
            f"{problem}; so no links of prompts are recorded, and whatif cannot replay the calls",
            f"correct the file, or set {OTEL_PROMPTCACHE_KEY_FILE} to another one",
        )
