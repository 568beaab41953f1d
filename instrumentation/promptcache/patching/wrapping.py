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
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from typing import Any, Final

from promptcache.patching.flow import FlowRunner
from promptcache.patching.hook import HandlerRef, Hook
from promptcache.telemetry.handler import TelemetryHandler

FlowStarter = Callable[[TelemetryHandler, Any, tuple[Any, ...], dict[str, Any]], FlowRunner]
"""Start the flow around one call: the handler, `self`, the positional and the keyword arguments."""


def make_wrapper(
    hook: Hook, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    """Return the function that replaces `original`: same name, same signature, same kind."""
    names = tuple(inspect.signature(original).parameters)[1:]

    def start_flow(
        handler: TelemetryHandler, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> FlowRunner:
        arguments = dict(zip(names, args, strict=False)) | kwargs if args else kwargs
        return FlowRunner(hook.around_call, handler, self, arguments)

    wrap = next(wrap for is_of_kind, wrap in _WRAPPER_FACTORIES if is_of_kind(original))
    return functools.wraps(original)(wrap(start_flow, original, handler_ref))


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
            runner.abandon()


class _AbandonmentGuard:
    """Abandon the flow when the stream is collected, even if no item was requested."""

    def __init__(self, runner: FlowRunner) -> None:
        self.runner = runner

    def __del__(self) -> None:
        self.runner.abandon()


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
            runner.abandon()
