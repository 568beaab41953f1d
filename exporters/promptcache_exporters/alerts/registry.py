"""The backends that `promptcache alerts` can generate files for.

To add a backend, add a module with a function `render_files_by_path(definition)`, and a row here.
The module has the name of the backend.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from promptcache_exporters.alerts.definition import DEFAULT_DEFINITION, AlertDefinition


class AlertBackend(NamedTuple):
    """One backend.

    description: what its files are, for the help text.
    has_committed_files: whether `generated/` has its files for the default definition.
    replaced_files: a file of this release, and the older file that it replaces.
    """

    description: str
    has_committed_files: bool = True
    replaced_files: Mapping[str, str] = {}


BACKENDS: Final[Mapping[str, AlertBackend]] = {
    "prometheus": AlertBackend("recording and alert rules"),
    "grafana": AlertBackend("a dashboard"),
    "honeycomb": AlertBackend(
        "triggers, calculated fields and a board, as API bodies and as Terraform",
        replaced_files={"honeycomb/promptcache.tf.json": "honeycomb/promptcache.tf"},
    ),
    "datadog": AlertBackend("monitors"),
    "newrelic": AlertBackend("alert conditions"),
    "signoz": AlertBackend("alert rules"),
    "collector": AlertBackend(
        "a configuration that counts tokens and costs of spans and keeps the traces of misses"
    ),
    "kubernetes": AlertBackend(
        "the rules as a PrometheusRule, and the Collector for the OpenTelemetry Operator"
    ),
    "runbooks": AlertBackend(
        "what each alert means and what to do, as pages for the place that --runbooks names",
        has_committed_files=False,
    ),
}

GENERATED_DIR: Final = Path(__file__).parent / "generated"
"""The files for the default definition, for users who do not install the package."""


def render_backend_files(backend: str, definition: AlertDefinition) -> dict[str, str]:
    """Return the files of a backend, text by path. Equal definitions give equal files.

    Raises KeyError for an unknown backend, and ModuleNotFoundError if an extra is not installed.
    """
    if backend not in BACKENDS:
        raise KeyError(backend)
    module = import_module(f"promptcache_exporters.alerts.{backend}")
    files: dict[str, str] = module.render_files_by_path(definition)
    return files


def write_files_and_delete_replaced(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files below `folder`. Remove generated files of older releases that they replace.

    Raises OSError. If a replaced file was not generated, it raises FileExistsError and writes
    nothing.
    """
    replaced = [folder / old for old in _replaced_older_paths(files) if (folder / old).exists()]
    for path in replaced:
        _require_generated_by_promptcache(path)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in replaced:
        path.unlink()


def regenerate_committed_files() -> None:
    """Generate the committed files anew. `make alerts` calls this."""
    for name, backend in BACKENDS.items():
        if backend.has_committed_files:
            write_files_and_delete_replaced(
                GENERATED_DIR, render_backend_files(name, DEFAULT_DEFINITION)
            )


def _replaced_older_paths(files: Mapping[str, str]) -> list[str]:
    return [
        old
        for backend in BACKENDS.values()
        for new, old in backend.replaced_files.items()
        if new in files
    ]


def _require_generated_by_promptcache(path: Path) -> None:
    if not path.read_text(encoding="utf-8").startswith("# Made by: promptcache alerts "):
        raise FileExistsError(
            errno.EEXIST,
            "promptcache did not generate this file, and it has the place of one that would be"
            " replaced. Terraform would read each resource twice. Move or delete it",
            str(path),
        )
