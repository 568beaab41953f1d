"""Puts flows around functions of an SDK, and takes them away again.

A flow is written once and driven in four ways, by the kind of function: plain, coroutine, generator, and both at once.
A stream stays a generator of the same kind, and no context of ours is current while the application has it. Plain
`functools.wraps` functions, not wrapt proxies: those cannot be pickled as bound methods and cost eight times as much on
every stream event (measured in November 2026, wrapt 2.5).
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from logging import getLogger
from types import FrameType
from typing import Any, Final, NamedTuple, TypeGuard

from promptcache.common.safely import safely
from promptcache.patching.flow import Flow, FlowRunner
from promptcache.telemetry.handler import TelemetryHandler

log = getLogger("promptcache")

FlowFunction = Callable[[TelemetryHandler, Any, Mapping[str, Any]], Flow]
"""A flow around one call: the observer, the object whose method is called, its arguments by name."""
PreHook = Callable[[TelemetryHandler, Any, Mapping[str, Any]], None]
"""What is told of a call before it runs, and not of its result."""


@dataclass(slots=True)
class HandlerRef:
    """What a shell asks: whose observer is in force; None while instrumentation is off."""

    handler: TelemetryHandler | None = None


FastWrapperFactory = Callable[[Callable[..., Any], HandlerRef], Callable[..., Any]]
"""Makes a shell by hand."""


class Hook(NamedTuple):
    """One function to stand at: attribute `method_name` of class `class_name`; `parameters` are those that the flow reads.

    An `is_optional` one is not in every release, and is not missed where it is not. `make_fast_wrapper` makes the tap's shell where
    the function's parameters are exactly those of that shell: to pack and to unpack any others costs more than it does.
    """

    class_name: str
    method_name: str
    parameters: tuple[str, ...]
    around_call: FlowFunction | None = None
    before_call: PreHook | None = None
    make_fast_wrapper: FastWrapperFactory | None = None
    is_optional: bool = False


class Patch(NamedTuple):
    """One function that we stand at."""

    owner: type
    name: str
    original: Callable[..., Any]
    wrapper: Callable[..., Any]
    handler_ref: HandlerRef

    def is_installed(self) -> bool:
        """Whether our shell is still in the chain of wrappers, outermost or not."""
        function = self.owner.__dict__.get(self.name)
        while function is not None:
            if function is self.wrapper:
                return True
            function = getattr(function, "__wrapped__", None)
        return False

    def restore(self) -> None:
        """Takes the shell away where it is outermost; elsewhere it passes straight through from now on."""
        self.handler_ref.handler = None
        if self.owner.__dict__.get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


ArgumentBinder = Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]


def _make_argument_binder(original: Callable[..., Any]) -> ArgumentBinder:
    """Names a call's positional arguments; most calls have none, and then nothing is copied."""
    names = tuple(inspect.signature(original).parameters)[1:]

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        return dict(zip(names, args, strict=False)) | kwargs if args else kwargs

    return named


FlowStarter = Callable[[TelemetryHandler, Any, tuple[Any, ...], dict[str, Any]], FlowRunner]


def _make_wrapper(
    hook: Hook, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    """What stands in for `original`: same name, same signature, same kind of function."""
    if hook.make_fast_wrapper is not None:
        quick = hook.make_fast_wrapper(original, handler_ref)
        if list(inspect.signature(quick).parameters) == list(
            inspect.signature(original).parameters
        ):
            return functools.wraps(original)(quick)
    named = _make_argument_binder(original)
    if hook.before_call is not None:
        return _wrap_with_pre_hook(hook.before_call, named, original, handler_ref)
    step = hook.around_call
    assert step is not None, "a target has a flow around it or a tap before it"

    def start(
        observer: TelemetryHandler, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> FlowRunner:
        return FlowRunner(lambda: step(observer, self, named(args, kwargs)))

    make = next(make for fits, make in _WRAPPER_FACTORIES if fits(original))
    return functools.wraps(original)(make(start, original, handler_ref))


def _wrap_function(
    start: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    def called(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if (observer := handler_ref.handler) is None:
            return original(self, *args, **kwargs)
        with start(observer, self, args, kwargs) as turn:
            turn.result = original(self, *args, **kwargs)
        return turn.result

    return called


def _wrap_coroutine_function(
    start: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    async def awaited(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if (observer := handler_ref.handler) is None:
            return await original(self, *args, **kwargs)
        with start(observer, self, args, kwargs) as turn:
            result = await original(self, *args, **kwargs)
            turn.is_final = not inspect.isasyncgen(result)
            turn.result = result if turn.is_final else None
        return (
            async_iterate_with_flow(_AbandonmentGuard(turn), result) if turn.is_active else result
        )

    return awaited


def _wrap_generator_function(
    start: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    def generated(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        items = original(self, *args, **kwargs)
        if (observer := handler_ref.handler) is not None:
            items = iterate_with_flow(start(observer, self, args, kwargs), items)
        yield from items

    return generated


def _wrap_async_generator_function(
    start: FlowStarter, original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    async def generated(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        items = original(self, *args, **kwargs)
        if (observer := handler_ref.handler) is not None:
            items = async_iterate_with_flow(
                _AbandonmentGuard(start(observer, self, args, kwargs)), items
            )
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return generated


_WRAPPER_FACTORIES: Final = (
    (inspect.isgeneratorfunction, _wrap_generator_function),
    (inspect.isasyncgenfunction, _wrap_async_generator_function),
    (inspect.iscoroutinefunction, _wrap_coroutine_function),
    (callable, _wrap_function),
)


_EXHAUSTED: Final = object()


def _caller_frame() -> FrameType | None:
    """Who closes a stream of ours, or what its finalizer interrupts."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the documented way to look at the stack
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def iterate_with_flow(
    runner: FlowRunner, items: Generator[Any, Any, Any]
) -> Generator[Any, Any, None]:
    """The same items, with the flow of `runner` around each step to the next."""
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
    """Whoever reads a stream: once nobody can any more, the application has left it, begun or not."""

    def __init__(self, runner: FlowRunner) -> None:
        self.runner = runner

    def __del__(self) -> None:
        safely(self.runner.abandon, _caller_frame())


async def async_iterate_with_flow(
    guard: _AbandonmentGuard, items: AsyncGenerator[Any, Any]
) -> AsyncGenerator[Any, None]:
    """As `iterate_with_flow`."""
    turn = guard.runner
    async with aclosing(items):
        try:
            while True:
                with turn:
                    item = await anext(items, _EXHAUSTED)
                    turn.is_final = item is _EXHAUSTED
                    turn.result = None if turn.is_final else item
                if item is _EXHAUSTED:
                    return
                yield item
        finally:
            turn.abandon(_caller_frame())


def _wrap_with_pre_hook(
    pre_hook: PreHook,
    bind_arguments: ArgumentBinder,
    original: Callable[..., Any],
    handler_ref: HandlerRef,
) -> Callable[..., Any]:
    @functools.wraps(original)
    def tapped(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if handler_ref.handler is not None:
            safely(pre_hook, handler_ref.handler, self, bind_arguments(args, kwargs))
        return original(self, *args, **kwargs)

    return tapped


def warn_unsupported_release(location: str) -> None:
    """Says that an SDK's release is newer than ours: there is nothing that fits at `location`, a module or a function."""
    log.warning(
        "promptcache does not know this release: %s has moved; calls that pass there are not seen",
        location,
    )


def is_compatible(original: object, hook: Hook) -> TypeGuard[Callable[..., Any]]:
    """Whether the function is there and takes what the flow reads."""
    return (
        inspect.isfunction(original)
        and set(hook.parameters) <= inspect.signature(original).parameters.keys()
    )


class ModulePatcher:
    """All that stands in one module, with one switch."""

    def __init__(self) -> None:
        self.module: object = None
        self._handler_ref: Final = HandlerRef()
        self._patches: list[Patch] = []
        self._warned_locations: set[str] = set()

    def install(self, hooks: tuple[Hook, ...], handler: TelemetryHandler) -> None:
        """Stands at every target that fits; one that still stands is only switched on again."""
        self._handler_ref.handler = handler
        self._patches = [patch for patch in self._patches if patch.is_installed()]
        present = {(patch.owner, patch.name) for patch in self._patches}
        for target in hooks:
            owner: type | None = getattr(self.module, target.class_name, None)
            if owner is None or (owner, target.method_name) not in present:
                self._install_hook(owner, target)

    def _install_hook(self, owner: type | None, hook: Hook) -> None:
        original = owner.__dict__.get(hook.method_name) if owner is not None else None
        if owner is None or not is_compatible(original, hook):
            if not hook.is_optional:
                self._warn_once(
                    ".".join(
                        (
                            *getattr(self.module, "__name__", "").split(),
                            hook.class_name,
                            hook.method_name,
                        )
                    )
                )
            return
        twins = (
            patch.wrapper
            for patch in self._patches
            if patch.owner is owner and patch.original is original
        )
        # A wrapt wrapper must be asked through its class, else it does not know whose method it is.
        shell = next(twins, None) or _make_wrapper(
            hook, original.__get__(None, owner), self._handler_ref
        )
        self._patches.append(Patch(owner, hook.method_name, original, shell, self._handler_ref))
        setattr(owner, hook.method_name, shell)

    def _warn_once(self, location: str) -> None:
        """Says once that a new release of an SDK has nothing that fits at `location`."""
        if location not in self._warned_locations:
            self._warned_locations.add(location)
            warn_unsupported_release(location)

    def restore(self) -> None:
        """Restores every function where ours is outermost; the others pass straight through."""
        for patch in self._patches:
            patch.restore()
        self._patches = [patch for patch in self._patches if patch.is_installed()]
