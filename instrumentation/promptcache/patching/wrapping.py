"""Make the wrapper of one function of an SDK.

The wrapper has the same name, signature and kind as the original: plain function, coroutine
function, generator function or async generator function. The wrapper of a coroutine function also
handles one that returns an async generator. Our context is current only while the SDK's code runs,
never while the application holds an item.

The wrappers are plain `functools.wraps` functions and not wrapt proxies. A wrapt proxy cannot be
pickled as a bound method, and costs eight times as much on every stream event (measured in November
2026, wrapt 2.5).
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, closing
from types import FrameType
from typing import Any, Final

from promptcache.common.safely import safely
from promptcache.patching.flow import FlowRunner
from promptcache.patching.hook import HandlerRef, Hook, PreHook
from promptcache.telemetry.handler import TelemetryHandler

ArgumentBinder = Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]
"""Return the arguments of a call by name."""
FlowStarter = Callable[[TelemetryHandler, Any, tuple[Any, ...], dict[str, Any]], FlowRunner]
"""Start the flow around one call: the handler, `self`, the positional and the keyword arguments."""


def make_wrapper(
    hook: Hook, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    """Return the function that replaces `original`: same name, same signature, same kind."""
    if hook.make_fast_wrapper is not None:
        fast_wrapper = hook.make_fast_wrapper(original, handler_ref)
        if list(inspect.signature(fast_wrapper).parameters) == list(
            inspect.signature(original).parameters
        ):
            return functools.wraps(original)(fast_wrapper)
    bind_arguments = _make_argument_binder(original)
    if hook.before_call is not None:
        return _wrap_with_pre_hook(hook.before_call, bind_arguments, original, handler_ref)
    around_call = hook.around_call
    assert around_call is not None, "a hook has either around_call or before_call"

    def start_flow(
        handler: TelemetryHandler, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> FlowRunner:
        return FlowRunner(lambda: around_call(handler, self, bind_arguments(args, kwargs)))

    wrap = next(wrap for is_of_kind, wrap in _WRAPPER_FACTORIES if is_of_kind(original))
    return functools.wraps(original)(wrap(start_flow, original, handler_ref))


def _make_argument_binder(original: Callable[..., Any]) -> ArgumentBinder:
    """Return a function that names arguments; it copies only if there are positional ones."""
    names = tuple(inspect.signature(original).parameters)[1:]

    def bind_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        return dict(zip(names, args, strict=False)) | kwargs if args else kwargs

    return bind_arguments


def _wrap_with_pre_hook(
    pre_hook: PreHook,
    bind_arguments: ArgumentBinder,
    original: Callable[..., Any],
    handler_ref: HandlerRef,
) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if handler_ref.handler is not None:
            safely(pre_hook, handler_ref.handler, self, bind_arguments(args, kwargs))
        return original(self, *args, **kwargs)

    return wrapper


def _wrap_function(
    start_flow: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if (handler := handler_ref.handler) is None:
            return original(self, *args, **kwargs)
        with start_flow(handler, self, args, kwargs) as runner:
            runner.result = original(self, *args, **kwargs)
        return runner.result

    return wrapper


def _wrap_coroutine_function(
    start_flow: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    async def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if (handler := handler_ref.handler) is None:
            return await original(self, *args, **kwargs)
        with start_flow(handler, self, args, kwargs) as runner:
            result = await original(self, *args, **kwargs)
            runner.is_final = not inspect.isasyncgen(result)
            runner.result = result if runner.is_final else None
        if not runner.is_active:
            return result
        return async_iterate_with_flow(_AbandonmentGuard(runner), result)

    return wrapper


def _wrap_generator_function(
    start_flow: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        items = original(self, *args, **kwargs)
        if (handler := handler_ref.handler) is not None:
            items = iterate_with_flow(start_flow(handler, self, args, kwargs), items)
        yield from items

    return wrapper


def _wrap_async_generator_function(
    start_flow: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    async def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        items = original(self, *args, **kwargs)
        if (handler := handler_ref.handler) is not None:
            runner = start_flow(handler, self, args, kwargs)
            items = async_iterate_with_flow(_AbandonmentGuard(runner), items)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return wrapper


_WRAPPER_FACTORIES: Final = (
    (inspect.isgeneratorfunction, _wrap_generator_function),
    (inspect.isasyncgenfunction, _wrap_async_generator_function),
    (inspect.iscoroutinefunction, _wrap_coroutine_function),
    (callable, _wrap_function),
)
"""The first factory whose test accepts the original function makes its wrapper."""
_EXHAUSTED: Final = object()


def _caller_frame() -> FrameType | None:
    """Return the innermost frame outside this file.

    It closes a stream, or the stream's finalizer interrupted it.
    """
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the documented way to look at the stack
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def iterate_with_flow(
    runner: FlowRunner, items: Generator[Any, Any, Any]
) -> Generator[Any, Any, None]:
    """Yield the same items, with the flow of `runner` around each step to the next item."""
    with closing(items):
        try:
            while True:
                with runner:
                    item = next(items, _EXHAUSTED)
                    runner.is_final = item is _EXHAUSTED
                    runner.result = None if runner.is_final else item
                if item is _EXHAUSTED:
                    return
                yield item
        finally:
            runner.abandon(_caller_frame())


class _AbandonmentGuard:
    """Abandon the flow when the stream is collected, even if no item was requested."""

    def __init__(self, runner: FlowRunner) -> None:
        self.runner = runner

    def __del__(self) -> None:
        safely(self.runner.abandon, _caller_frame())


async def async_iterate_with_flow(
    guard: _AbandonmentGuard, items: AsyncGenerator[Any, Any]
) -> AsyncGenerator[Any, None]:
    """Do the same as `iterate_with_flow` for an async generator."""
    runner = guard.runner
    async with aclosing(items):
        try:
            while True:
                with runner:
                    item = await anext(items, _EXHAUSTED)
                    runner.is_final = item is _EXHAUSTED
                    runner.result = None if runner.is_final else item
                if item is _EXHAUSTED:
                    return
                yield item
        finally:
            runner.abandon(_caller_frame())
