"""Where telemetry can fail: every function of ours, and every one of OpenTelemetry's that ours call."""

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
APART: Final = (
    "promptcache_emulator",
    *(
        f"promptcache.{part}"
        for part in ("cli", "diagnosis.miss_reasons", "prices.build", "prices.breakeven")
    ),
    *(
        f"promptcache_exporters.{part}"
        for part in (
            "alerts",
            "explain",
            "report",
            "database.errors",
            "database.parquet",
            "database.query",
        )
    ),
)
"""What runs by hand, in a process of its own: never where an application could notice."""

KERNEL: Final = frozenset(
    {
        # What the application itself calls in place of the SDK's function: it runs the SDK's code, so it cannot be
        # made to raise without breaking the call by hand. Everything below it can.
        "promptcache.common.safely.safely",
        "promptcache.instrumentor.PromptCacheInstrumentor._instrument",
        "promptcache.instrumentor.PromptCacheInstrumentor._uninstrument",
        "promptcache.instrumentor.PromptCacheInstrumentor.instrumentation_dependencies",
        "promptcache.patching.flow.FlowRunner.__init__",
        "promptcache.patching.flow.FlowRunner.__enter__",
        "promptcache.patching.flow.FlowRunner.__exit__",
        "promptcache.patching.flow.FlowRunner._advance",
        "promptcache.patching.flow.FlowRunner.is_active",
        "promptcache.patching.flow.FlowRunner.abandon",
        "promptcache.patching.flow.StepResult.__init__",
        "promptcache.patching.byte_stream.ObservedByteStream.__getattr__",
        "promptcache.patching.byte_stream.ObservedByteStream.__iter__",
        "promptcache.patching.byte_stream.ObservedByteStream.__aiter__",
        "promptcache.patching.byte_stream.ObservedByteStream.__del__",
        "promptcache.patching.byte_stream.ObservedByteStream._iterate_raw",
        "promptcache.patching.byte_stream.ObservedByteStream._async_iterate_raw",
        "promptcache.patching.byte_stream.ObservedByteStream.close",
        "promptcache.patching.byte_stream.ObservedByteStream.aclose",
        "promptcache.patching.byte_stream.ObservedByteStream._iter_bytes",
        "promptcache.patching.byte_stream.ObservedByteStream._aiter_bytes",
        "promptcache.patching.byte_stream._iterate_response",
        "promptcache.patching.byte_stream._close_chunks",
        *(
            f"promptcache.patching.wrapping.{wrapper}"
            for wrapper in (
                "_wrap_function.<locals>.wrapper",
                "_wrap_coroutine_function.<locals>.wrapper",
                "_wrap_generator_function.<locals>.wrapper",
                "_wrap_async_generator_function.<locals>.wrapper",
                "_wrap_with_pre_hook.<locals>.wrapper",
                "make_wrapper.<locals>.start_flow",
                "_make_argument_binder.<locals>.bind_arguments",
            )
        ),
        "promptcache.patching.stainless._wrap_process_response_data.<locals>.wrapper",
        "promptcache.patching.wrapping.iterate_with_flow",
        "promptcache.patching.wrapping.async_iterate_with_flow",
        "promptcache.patching.wrapping._caller_frame",
        "promptcache.patching.wrapping._AbandonmentGuard.__init__",
        "promptcache.patching.wrapping._AbandonmentGuard.__del__",
        "promptcache.providers.bedrock.hooks._StreamState.__del__",
        "promptcache.providers.bedrock.hooks._read_raw",
        "promptcache.providers.openai.websocket.WebSocketCalls.__del__",
        "promptcache.telemetry.context_attributes.attributes",
        "promptcache.diagnosis.memory.Memory.__exit__",  # releases a lock, and nothing else
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
"""Where each thing that must be able to fail begins."""

_ROOTS: Final = (*(name.removesuffix(".") for name in (*OURS, THEIRS)), __name__)
"""How the name of every module begins whose functions can be chosen."""

Stack = tuple[CodeType, ...]
"""The functions of ours that a function was called from, the innermost first."""


def clock() -> float:
    """The application's, which may fail as well."""
    return time.time()


@cache
def _is_our_module(name: object) -> bool:
    return str(name).startswith(OURS)


def ours(frame: FrameType | None) -> bool:
    return frame is not None and _is_our_module(frame.f_globals.get("__name__"))


def functions() -> dict[CodeType, list[FunctionType]]:
    """By their code: all of ours that are made to be broken, all of OpenTelemetry's, and the clock."""
    found: dict[CodeType, list[FunctionType]] = {}
    chosen = (*OURS, THEIRS, AREAS["clock"])
    # A process of the tests holds a million objects, so the cheapest questions come first.
    for item in [item for item in gc.get_objects() if type(item) is FunctionType]:
        if (item.__module__ or "").startswith(_ROOTS):
            name = f"{item.__module__}.{item.__qualname__}"
            if name.startswith(chosen) and not name.startswith(APART) and name not in KERNEL:
                found.setdefault(item.__code__, []).append(item)
    return found


@lru_cache(maxsize=1)
def _remembering(modules: int) -> list[Any]:
    mine = [vars(module) for name, module in list(sys.modules.items()) if name.startswith(OURS)]
    return [item for held in mine for item in held.values() if hasattr(item, "cache_clear")]


def forget() -> None:
    """Empties what our functions remember of earlier calls, so that they are run again."""
    for item in _remembering(len(sys.modules)):
        item.cache_clear()


def _callers(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        if ours(frame) and frame.f_code is not safely.__code__:
            yield frame.f_code
        frame = frame.f_back


@contextmanager
def noted(deep: int | None) -> Generator[dict[CodeType, set[Stack]]]:
    """The code that runs inside, ours and that which ours calls, each with the `deep` last of ours that led there."""
    ran: dict[CodeType, set[Stack]] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        if ours(frame) or ours(frame.f_back):
            ran.setdefault(frame.f_code, set()).add(tuple(islice(_callers(frame.f_back), deep)))

    before = sys.gettrace()
    sys.settrace(note)
    try:
        yield ran
    finally:
        sys.settrace(before)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    _INSTEAD: Final[CodeType] = eval("lambda *args, **kwargs: 'hook'(*args, **kwargs)").__code__


def _calling(hook: Callable[..., Any], free: tuple[str, ...]) -> CodeType:
    """Code that calls `hook` with what it is given, whatever function it is put into."""
    constants = tuple(hook if constant == "hook" else constant for constant in _INSTEAD.co_consts)
    return _INSTEAD.replace(co_consts=constants, co_freevars=free)


@contextmanager
def broken(functions: list[FunctionType], error: BaseException) -> Generator[list[str]]:
    """Has `functions`, all of one code, raise `error` inside the block wherever we call them; says who did."""
    code, raised = functions[0].__code__, list[str]()
    for function in functions:
        function.__code__ = _calling(_hook(function, error, raised), code.co_freevars)
    try:
        yield raised
    finally:
        for function in functions:
            function.__code__ = code


def _hook(function: FunctionType, error: BaseException, raised: list[str]) -> Callable[..., Any]:
    mine = function.__module__.startswith(OURS)
    intact = FunctionType(function.__code__, function.__globals__, closure=function.__closure__)
    intact.__defaults__, intact.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    intact.__module__ = __name__  # none of `functions`

    def hook(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]  # the documented way to the caller
        if not mine and not ours(caller):
            return intact(*args, **kwargs)
        raised.append(caller.f_code.co_qualname)
        raise error.with_traceback(None)

    return hook
