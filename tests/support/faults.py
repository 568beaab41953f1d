"""Find the functions where telemetry can fail, and make them raise.

These are all functions of promptcache, and those of OpenTelemetry that promptcache calls.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import islice
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

from promptcache.common.safely import safely

OURS: Final = ("promptcache.", "promptcache_exporters.")
THEIRS: Final = "opentelemetry."
EXCLUDED_PREFIXES: Final = (
    "promptcache_emulator",
    *(
        f"promptcache.{part}"
        for part in (
            "cli",
            "diagnosis.miss_reasons",
            "harness",  # the application calls it by itself, and sees its errors
            "prices.build",
            "prices.breakeven",
            "telemetry.coroutine_chain",  # tests/test_call_site.py breaks these three
            "telemetry.queue_readers",
            "telemetry.waiting_lines",
        )
    ),
    *(
        f"promptcache_exporters.{part}"
        for part in (
            "alerts",
            "explain",
            "page",
            "report",
            "replay",
            "doctor",
            "database.clickhouse",
            "database.otlp_import",
            "database.row_ranges",
            "database.otlp_json",
            "database.dialect",
            "database.errors",
            "database.hourly_sums",  # runs inside SQLite
            "database.row_validity",
            "database.file_path",  # of recordings, which tests/test_record.py breaks
            "recording",
            "database.parquet",
            "database.query",
            "database.recorded_span",
            "database.selected_calls",
            "database.source",
        )
    ),
)
"""Prefixes of modules that run only as commands, or that a test of their own breaks."""

UNBREAKABLE_FUNCTIONS: Final = frozenset(
    {
        # The application calls these functions in place of the SDK's. They run the SDK's code, so
        # an error in them would break the call itself. All functions below them can be broken.
        "promptcache.common.safely.safely",
        "promptcache.common.safely._log_failure",
        "promptcache.common.safely._place_of_failure",
        "promptcache.instrumentor.PromptCacheInstrumentor._instrument",
        "promptcache.instrumentor.PromptCacheInstrumentor._uninstrument",
        "promptcache.instrumentor.PromptCacheInstrumentor.instrumentation_dependencies",
        "promptcache.patching.flow.FlowRunner.__init__",
        "promptcache.patching.flow.FlowRunner.__enter__",
        "promptcache.patching.flow.FlowRunner.__exit__",
        "promptcache.patching.flow.FlowRunner.is_active",
        "promptcache.patching.flow.FlowRunner.abandon",
        "promptcache.patching.flow.StepResult.__init__",
        "promptcache.patching.byte_stream.ObservedByteStream.__getattr__",
        "promptcache.patching.byte_stream.ObservedByteStream.__iter__",
        "promptcache.patching.byte_stream.ObservedByteStream.__aiter__",
        "promptcache.patching.byte_stream.ObservedByteStream.__del__",
        "promptcache.patching.byte_stream.ObservedByteStream.close",
        "promptcache.patching.byte_stream.ObservedByteStream.aclose",
        "promptcache.patching.byte_stream._Reading.__init__",
        "promptcache.patching.byte_stream._Reading.__enter__",
        "promptcache.patching.byte_stream._Reading.__exit__",
        "promptcache.patching.byte_stream._PrecedingObserver.end",
        *(
            f"promptcache.patching.wrapping.{wrapper}"
            for wrapper in (
                "_wrap_function.<locals>.wrapper",
                "_wrap_coroutine_function.<locals>.wrapper",
                "_wrap_generator_function.<locals>.wrapper",
                "_wrap_async_generator_function.<locals>.wrapper",
                "make_wrapper.<locals>.start_flow",
            )
        ),
        "promptcache.patching.wrapping.iterate_with_flow",
        "promptcache.patching.wrapping.async_iterate_with_flow",
        "promptcache.patching.wrapping._AbandonmentGuard.__init__",
        "promptcache.patching.wrapping._AbandonmentGuard.__del__",
        "promptcache.providers.bedrock.hooks._ResponseStreamState.__del__",
        "promptcache.providers.bedrock.hooks._read_raw_body",
        "promptcache.providers.openai.websocket.WebSocketCalls.__del__",
        "promptcache.telemetry.context_attributes.attributes",
        "promptcache.diagnosis.memory.Memory.__exit__",  # only releases a lock
    }
)


AREAS: Final = {
    "tracer": "opentelemetry.sdk.trace.Tracer.",
    "span": "opentelemetry.sdk.trace.Span.",
    "meter": "opentelemetry.sdk.metrics.",
    "hash": "promptcache.prefix.hashing.",
    "memory": "promptcache.diagnosis.memory.",
    "price": "promptcache.prices.",
    "rules": "promptcache.providers.cache_rules.",
    "exporter": "promptcache_exporters.database.sqlite_exporter.",
    "settings": "promptcache.settings.",
    "clock": f"{__name__}.clock",
}
"""The prefix of the functions of each area that must be able to fail."""

_ROOTS: Final = (*(name.removesuffix(".") for name in (*OURS, THEIRS)), __name__)
"""Prefixes of the modules whose functions can be broken."""

Stack = tuple[CodeType, ...]
"""The functions of promptcache that called a function, the innermost first."""


def clock() -> float:
    """Return the time. It stands for a clock of the application, which may fail too."""
    return time.time()


@cache
def _is_our_module(name: object) -> bool:
    return str(name).startswith(OURS)


def is_our_frame(frame: FrameType | None) -> bool:
    return frame is not None and _is_our_module(frame.f_globals.get("__name__"))


def find_functions() -> dict[CodeType, list[FunctionType]]:
    """Return the breakable functions by their code: ours, OpenTelemetry's, and the clock."""
    functions_by_code: dict[CodeType, list[FunctionType]] = {}
    prefixes = (*OURS, THEIRS, AREAS["clock"])
    # A test process has a million objects, so the cheapest condition comes first.
    for item in [item for item in gc.get_objects() if type(item) is FunctionType]:
        if (item.__module__ or "").startswith(_ROOTS):
            name = f"{item.__module__}.{item.__qualname__}"
            if (
                name.startswith(prefixes)
                and not name.startswith(EXCLUDED_PREFIXES)
                and name not in UNBREAKABLE_FUNCTIONS
            ):
                functions_by_code.setdefault(item.__code__, []).append(item)
    return functions_by_code


@lru_cache(maxsize=1)
def _cached_functions(modules: int) -> list[Any]:
    namespaces = [
        vars(module) for name, module in list(sys.modules.items()) if name.startswith(OURS)
    ]
    return [
        item
        for namespace in namespaces
        for item in namespace.values()
        if hasattr(item, "cache_clear")
    ]


def clear_caches() -> None:
    """Clear the caches of our functions, so that their code runs again."""
    for item in _cached_functions(len(sys.modules)):
        item.cache_clear()


def _callers(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        if is_our_frame(frame) and frame.f_code is not safely.__code__:
            yield frame.f_code
        frame = frame.f_back


@contextmanager
def record_called_code(depth: int | None) -> Generator[dict[CodeType, set[Stack]]]:
    """Record the code that runs inside the block, ours and the code that ours calls.

    Each entry has the stacks of our calling functions, cut to the innermost `depth`.
    """
    stacks_by_code: dict[CodeType, set[Stack]] = {}

    def trace_call(frame: FrameType, event: str, argument: object) -> None:
        if is_our_frame(frame) or is_our_frame(frame.f_back):
            stacks_by_code.setdefault(frame.f_code, set()).add(
                tuple(islice(_callers(frame.f_back), depth))
            )

    previous_trace = sys.gettrace()
    sys.settrace(trace_call)
    try:
        yield stacks_by_code
    finally:
        sys.settrace(previous_trace)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    _REPLACEMENT_CODE: Final[CodeType] = eval(
        "lambda *args, **kwargs: 'hook'(*args, **kwargs)"
    ).__code__


def _code_calling(hook: Callable[..., Any], free_variables: tuple[str, ...]) -> CodeType:
    """Return code that calls `hook` and fits a function with these free variables."""
    constants = tuple(
        hook if constant == "hook" else constant for constant in _REPLACEMENT_CODE.co_consts
    )
    return _REPLACEMENT_CODE.replace(co_consts=constants, co_freevars=free_variables)


@contextmanager
def break_functions(functions: list[FunctionType], error: BaseException) -> Generator[list[str]]:
    """Make `functions` of one code raise `error` when promptcache calls them in the block.

    Yield the names of the callers that got the error.
    """
    code, raised = functions[0].__code__, list[str]()
    for function in functions:
        function.__code__ = _code_calling(
            _make_raising_hook(function, error, raised), code.co_freevars
        )
    try:
        yield raised
    finally:
        for function in functions:
            function.__code__ = code


def _make_raising_hook(
    function: FunctionType, error: BaseException, raised: list[str]
) -> Callable[..., Any]:
    is_ours = function.__module__.startswith(OURS)
    original = FunctionType(function.__code__, function.__globals__, closure=function.__closure__)
    original.__defaults__, original.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    original.__module__ = __name__  # so that it is not broken itself

    def hook(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]  # the documented way to the caller
        if not is_ours and not is_our_frame(caller):
            return original(*args, **kwargs)
        raised.append(caller.f_code.co_qualname)
        raise error.with_traceback(None)

    return hook
