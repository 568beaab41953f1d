"""`promptcache.record`: record every LLM call of this process into a local table."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from promptcache.common.fork import register_after_fork_in_child
from promptcache.common.safely import safely
from promptcache.instrumentor import PromptCacheInstrumentor
from promptcache.semconv import SERVICE_NAME
from promptcache_exporters.database.file_path import DEFAULT_PATH, resolve_database_path
from promptcache_exporters.recording.key_file import (
    KEY_WARNING_VARIABLE,
    KeyFileError,
    describe_missing_key,
    load_or_create_key,
)
from promptcache_exporters.recording.late_provider import LateTracerProvider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from promptcache_exporters.recording.table_writer import TableWriter

log = getLogger("promptcache")

FLUSH_SECONDS: Final = 5.0
"""How long the end of a recording waits for its rows at most."""


class Recording:
    """A running recording. It ends with `close`, with its `with` block, or with the process.

    `path` is the absolute path of the table. `with` and `async with` work; the latter waits for
    the last rows in a thread.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __repr__(self) -> str:
        return f"<{'recording' if self._is_open else 'ended recording'} {self.path}>"

    def flush(self) -> None:
        """Write the rows of all calls that have ended. Never raises."""
        safely(_recorder.flush)

    def close(self) -> None:
        """Write the last rows and end this recording. Never raises; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            safely(_recorder.remove, self.path)


def record(
    path: str | os.PathLike[str] | None = None, *, service_name: str | None = None
) -> Recording:
    """Record every LLM call of this process, of any thread or task, into the table at `path`.

    >>> import promptcache
    >>> promptcache.record("calls.db")  # doctest: +SKIP

    It records until the process ends, or until the end of a `with` block around it. `path` is by
    default `OTEL_PROMPTCACHE_DB`, else `promptcache.db`. A second call with the same path changes
    nothing. If the application has a tracer provider, now or later, that one gets a span processor
    and is never replaced; `service_name` counts only if there is none.

    Raises ModuleNotFoundError without the extra `promptcache[run]`, and no other error.
    """
    if find_spec("opentelemetry.sdk") is None:
        raise ModuleNotFoundError(
            'promptcache.record needs an extra: pip install "promptcache[run]"',
            name="opentelemetry.sdk",
        )
    chosen = safely(resolve_database_path, path) or Path(path or DEFAULT_PATH)
    safely(_recorder.add, chosen, service_name)
    return Recording(chosen)


def flush_recordings() -> None:
    """Write the rows of all calls that have ended, in every recording. Never raises."""
    safely(_recorder.flush)


class _Recorder:
    """All recordings of this process. Thread-safe, and safe across forks.

    One span processor serves them all, since a tracer provider cannot remove a processor.
    """

    def __init__(self) -> None:
        self._open_counts: dict[Path, int] = {}
        self._writers: dict[Path, TableWriter] = {}
        self._service_name: str | None = None
        self._provider: Final = LateTracerProvider(
            self._make_processor, self._make_private_provider
        )
        self._has_instrumented = self._has_exit_hook = self._has_warned_of_key = False
        self._reset_lock()
        register_after_fork_in_child(self._reset_lock)

    def add(self, path: Path, service_name: str | None) -> None:
        """Start a recording, or count it again if there is one with this path."""
        with self._lock:
            self._service_name = service_name or self._service_name
            self._open_counts[path] = self._open_counts.get(path, 0) + 1
            if not self._has_exit_hook:
                self._has_exit_hook = True
                atexit.register(safely, self.flush)
        self._instrument()

    def remove(self, path: Path) -> None:
        """End one recording of `path`; the last one closes the table."""
        with self._lock:
            self._open_counts[path] -= 1
            if self._open_counts[path]:
                return
            del self._open_counts[path]
            writer = self._writers.pop(path, None)
            is_last = not self._open_counts and self._has_instrumented
            self._has_instrumented = self._has_instrumented and not is_last
        if writer is not None:
            writer.shutdown()
        if is_last:
            PromptCacheInstrumentor().uninstrument()

    def flush(self) -> None:
        """Write the rows of all calls that have ended."""
        for writer in list(self._writers.values()):
            writer.flush(FLUSH_SECONDS)

    def _instrument(self) -> None:
        """Switch the instrumentation on, and let it use a provider whose spans are recorded."""
        instrumentor, key = PromptCacheInstrumentor(), self._load_key()
        if not instrumentor.is_instrumented_by_opentelemetry:
            self._has_instrumented = True
            instrumentor.instrument(tracer_provider=self._provider, recording_key=key)
            return
        if key is not None:
            instrumentor.use_recording_key(key)
        provider = instrumentor.tracer_provider_in_use()
        if hasattr(provider, "add_span_processor"):
            if provider is not self._provider:
                self._provider.attach_to(provider)
        else:  # it has no provider yet, so its spans go nowhere
            instrumentor.use_tracer_provider(self._provider)
        self._provider.follow_application()

    def _load_key(self) -> bytes | None:
        """Return the user's key; None, and say why once, if there is none that can be used."""
        try:
            return load_or_create_key(os.environ)
        except KeyFileError as error:
            # `promptcache run` has said so already, once for all processes.
            if not self._has_warned_of_key and KEY_WARNING_VARIABLE not in os.environ:
                self._has_warned_of_key = True
                log.warning("%s", describe_missing_key(error))
            return None

    def _current_writers(self) -> list[TableWriter]:
        """Return a writer for each open recording."""
        if len(self._writers) < len(self._open_counts):
            self._create_writers()
        return list(self._writers.values())

    def _create_writers(self) -> None:
        from promptcache_exporters.recording.table_writer import TableWriter

        with self._lock:
            for path in self._open_counts:
                if path not in self._writers:
                    self._writers[path] = TableWriter(path)

    def _make_processor(self) -> SpanProcessor:
        from promptcache_exporters.recording.table_writer import RecordingProcessor

        return RecordingProcessor(self._current_writers, self.flush)

    def _make_private_provider(self) -> Any:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        resource = Resource.create({SERVICE_NAME: self._service_name} if self._service_name else {})
        if str(resource.attributes.get(SERVICE_NAME)).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: _program_name()}))
        return TracerProvider(resource=resource, shutdown_on_exit=False)

    def _reset_lock(self) -> None:
        self._lock = Lock()


def _program_name() -> str:
    """Return the name of the program for the column `service`."""
    if "ipykernel" in sys.modules:
        return "notebook"
    argument = sys.argv[0] if sys.argv else ""
    return Path(argument).stem or "python"


_recorder: Final = _Recorder()
