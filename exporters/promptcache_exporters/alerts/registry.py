"""The backends, and the files that each is given."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from promptcache_exporters.alerts.definition import AlertDefinition

BACKENDS: Final[Mapping[str, str]] = {
    "prometheus": "recording and alert rules",
    "grafana": "a dashboard",
    "honeycomb": "triggers, calculated fields and a board, as API bodies and as Terraform",
    "datadog": "monitors",
    "newrelic": "alert conditions",
    "signoz": "alert rules",
    "collector": "a configuration that derives the counters from spans and keeps the traces of misses",
    "runbooks": "what each alert means and what to do, as pages to put where --runbooks points",
}

GENERATED_DIR: Final = Path(__file__).parent / "generated"
"""The files of the default definition, for those who install nothing."""


def generate_files(backend: str, definition: AlertDefinition) -> dict[str, str]:
    """The files for a backend, text by path; the same for the same definition. Raises ModuleNotFoundError where an
    extra is missing, KeyError for another backend."""
    if backend not in BACKENDS:
        raise KeyError(backend)
    made: dict[str, str] = import_module(f".{backend}", __package__).files(definition)
    return made


def write_files(folder: Path, made: Mapping[str, str]) -> None:
    """Writes the files below `folder`. Raises OSError."""
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
