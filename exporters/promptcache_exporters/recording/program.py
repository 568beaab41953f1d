"""Record in a program that `promptcache run` started, and in its Python child processes."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import Final

from opentelemetry.environment_variables import (
    OTEL_LOGS_EXPORTER,
    OTEL_METRICS_EXPORTER,
    OTEL_TRACES_EXPORTER,
)

from promptcache.common.safely import safely
from promptcache.instrumentor import PromptCacheInstrumentor
from promptcache.settings import OTEL_PROMPTCACHE_DB, OTEL_PROMPTCACHE_KEY_FILE
from promptcache_exporters.recording.key_file import resolve_key_path
from promptcache_exporters.recording.process_facts import FACTS_VARIABLE, write_process_facts
from promptcache_exporters.recording.recorder import flush_recordings, record

log = getLogger("promptcache")

RUN_VARIABLE: Final = "PROMPTCACHE_RUN"
"""Set in every process below `promptcache run`. Its value is the name of the service."""
STARTUP_FOLDER: Final = Path(__file__).parent / "startup"
"""The folder that Python looks into at its start. It has nothing but `sitecustomize.py`."""
MAX_SECONDS_AT_SIGTERM: Final = 3.0
"""How long a process that is told to end lives on to write its last rows."""

_SIGNALS: Final[Mapping[str, str]] = {
    OTEL_TRACES_EXPORTER: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    OTEL_METRICS_EXPORTER: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    OTEL_LOGS_EXPORTER: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
}
_OTLP_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_CONFIG_FILES: Final = ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE")


def start_recording() -> None:
    """Record this process into the table of `promptcache run`. Never raises."""
    safely(_start_recording)


def make_environment(environ: Mapping[str, str], database: Path, service: str) -> dict[str, str]:
    """Return the environment of a program whose Python processes shall record into `database`.

    All of them use the key file of `environ`, also where their home is another one.
    """
    return {
        **with_startup_folder(environ),
        OTEL_PROMPTCACHE_DB: str(database),
        OTEL_PROMPTCACHE_KEY_FILE: str(resolve_key_path(environ)),
        RUN_VARIABLE: service,
    }


def with_startup_folder(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which Python looks into our folder at its start."""
    # An empty entry would mean the current folder.
    paths = filter(None, (str(STARTUP_FOLDER), environ.get("PYTHONPATH")))
    return {**environ, "PYTHONPATH": os.pathsep.join(paths)}


def choose_exporters(environ: Mapping[str, str], *, has_otlp: bool) -> dict[str, str]:
    """Return the exporters that the user configured, by variable; empty if there are none.

    A signal without a setting has the exporter `otlp` if that is installed (`has_otlp`) and has an
    endpoint, else `none`. OpenTelemetry's own default is a collector that the user may not have.
    """
    set_here = {name: environ.get(name, "").strip() for name in _SIGNALS}
    chosen = {
        name: value or ("otlp" if has_otlp and _has_endpoint(environ, _SIGNALS[name]) else "none")
        for name, value in set_here.items()
    }
    has_config_file = any(environ.get(name) for name in _CONFIG_FILES)
    is_configured = any(value.lower() != "none" for value in chosen.values())
    return chosen if is_configured or has_config_file else {}


def _has_endpoint(environ: Mapping[str, str], own: str) -> bool:
    return bool(environ.get(own, "").strip() or environ.get(_OTLP_ENDPOINT, "").strip())


def _start_recording() -> None:
    if FACTS_VARIABLE in os.environ:
        # Registered first, so that it runs last. A process that is killed leaves the facts of now.
        atexit.register(safely, write_process_facts, is_at_end=True)
        write_process_facts(is_at_end=False)
    if find_spec("opentelemetry.sdk") is None:
        log.warning(
            "promptcache records nothing here: the environment of this Python has no "
            'opentelemetry-sdk; pip install "promptcache[run]"'
        )
        return
    _initialize_exporters_of_user()
    record(service_name=os.environ.get(RUN_VARIABLE))
    _flush_at_sigterm()


def _initialize_exporters_of_user() -> None:
    """Do what `opentelemetry-instrument` does, if the user configured an exporter."""
    if not any(name.startswith("OTEL_") for name in os.environ):
        return
    installed = entry_points(group="opentelemetry_traces_exporter").names
    exporters = choose_exporters(
        os.environ, has_otlp=any(name.startswith("otlp") for name in installed)
    )
    if exporters:
        from opentelemetry.instrumentation.auto_instrumentation import (  # pyright: ignore[reportMissingTypeStubs]  # it ships none
            initialize,
        )

        os.environ.update(exporters)
        initialize()


def _flush_at_sigterm() -> None:
    """Write the last rows before SIGTERM kills the process, and let it die by the signal.

    An application that handles SIGTERM itself replaces this handler, and ends in its own way.
    """
    if current_thread() is main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _die_after_flush)


_is_dying = False


def _die_after_flush(number: int, frame: FrameType | None) -> None:
    global _is_dying
    if _is_dying:  # the signal came twice: to this process, and to its group
        return
    _is_dying = True
    # The interrupted code may hold a lock that writing needs, so another thread writes.
    thread = Thread(target=_write_last_rows, daemon=True)
    thread.start()
    thread.join(MAX_SECONDS_AT_SIGTERM)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _write_last_rows() -> None:
    flush_recordings()
    safely(PromptCacheInstrumentor.end_open_calls)
    flush_recordings()
    if FACTS_VARIABLE in os.environ:
        safely(write_process_facts, is_at_end=True)
