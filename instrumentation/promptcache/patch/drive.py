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

from promptcache.observer import Observer
from promptcache.patch.around import Around, Flow
from promptcache.safety import safely

log = getLogger("promptcache")

Step = Callable[[Observer, Any, Mapping[str, Any]], Flow]
"""A flow around one call: the observer, the object whose method is called, its arguments by name."""
Tap = Callable[[Observer, Any, Mapping[str, Any]], None]
"""What is told of a call before it runs, and not of its result."""


@dataclass(slots=True)
class Switch:
    """What a shell asks: whose observer is in force; None while instrumentation is off."""

    observer: Observer | None = None


Quick = Callable[[Callable[..., Any], Switch], Callable[..., Any]]
"""Makes a shell by hand."""


class Target(NamedTuple):
    """One function to stand at: attribute `name` of class `owner`; `parameters` are those that the flow reads.

    An `optional` one is not in every release, and is not missed where it is not. `quick` makes the tap's shell where
    the function's parameters are exactly those of that shell: to pack and to unpack any others costs more than it does.
    """

    owner: str
    name: str
    parameters: tuple[str, ...]
    around: Step | None = None
    before: Tap | None = None
    quick: Quick | None = None
    optional: bool = False


class Patch(NamedTuple):
    """One function that we stand at."""

    owner: type
    name: str
    original: Callable[..., Any]
    shell: Callable[..., Any]
    switch: Switch

    def standing(self) -> bool:
        """Whether our shell is still in the chain of wrappers, outermost or not."""
        function = self.owner.__dict__.get(self.name)
        while function is not None:
            if function is self.shell:
                return True
            function = getattr(function, "__wrapped__", None)
        return False

    def restore(self) -> None:
        """Takes the shell away where it is outermost; elsewhere it passes straight through from now on."""
        self.switch.observer = None
        if self.owner.__dict__.get(self.name) is self.shell:
            setattr(self.owner, self.name, self.original)


Named = Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]


def _named(original: Callable[..., Any]) -> Named:
    """Names a call's positional arguments; most calls have none, and then nothing is copied."""
    names = tuple(inspect.signature(original).parameters)[1:]

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        return dict(zip(names, args, strict=False)) | kwargs if args else kwargs

    return named


Start = Callable[[Observer, Any, tuple[Any, ...], dict[str, Any]], Around]


def _shell(target: Target, original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """What stands in for `original`: same name, same signature, same kind of function."""
    if target.quick is not None:
        quick = target.quick(original, switch)
        if list(inspect.signature(quick).parameters) == list(
            inspect.signature(original).parameters
        ):
            return functools.wraps(original)(quick)
    named = _named(original)
    if target.before is not None:
        return _tapped(target.before, named, original, switch)
    step = target.around
    assert step is not None, "a target has a flow around it or a tap before it"

    def start(
        observer: Observer, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Around:
        return Around(lambda: step(observer, self, named(args, kwargs)))

    make = next(make for fits, make in _KINDS if fits(original))
    return functools.wraps(original)(make(start, original, switch))


def _called(start: Start, original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    def called(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if (observer := switch.observer) is None:
            return original(self, *args, **kwargs)
        with start(observer, self, args, kwargs) as turn:
            turn.result = original(self, *args, **kwargs)
        return turn.result

    return called


def _awaited(start: Start, original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    async def awaited(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if (observer := switch.observer) is None:
            return await original(self, *args, **kwargs)
        with start(observer, self, args, kwargs) as turn:
            result = await original(self, *args, **kwargs)
            turn.last = not inspect.isasyncgen(result)
            turn.result = result if turn.last else None
        return followed_async(_Reader(turn), result) if turn.follows else result

    return awaited


def _generated(start: Start, original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    def generated(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        items = original(self, *args, **kwargs)
        if (observer := switch.observer) is not None:
            items = followed(start(observer, self, args, kwargs), items)
        yield from items

    return generated


def _generated_async(
    start: Start, original: Callable[..., Any], switch: Switch
) -> Callable[..., Any]:
    async def generated(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        items = original(self, *args, **kwargs)
        if (observer := switch.observer) is not None:
            items = followed_async(_Reader(start(observer, self, args, kwargs)), items)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return generated


_KINDS: Final = (
    (inspect.isgeneratorfunction, _generated),
    (inspect.isasyncgenfunction, _generated_async),
    (inspect.iscoroutinefunction, _awaited),
    (callable, _called),
)


_OVER: Final = object()


def _outside() -> FrameType | None:
    """Who closes a stream of ours, or what its finalizer interrupts."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the documented way to look at the stack
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def followed(turn: Around, items: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
    """The same items, with the flow of `turn` around each step to the next."""
    with closing(items):
        try:
            while True:
                with turn:
                    item = next(items, _OVER)
                    turn.last = item is _OVER
                    turn.result = None if turn.last else item
                if item is _OVER:
                    return
                yield item
        finally:
            turn.leave(_outside())


class _Reader:
    """Whoever reads a stream: once nobody can any more, the application has left it, begun or not."""

    def __init__(self, turn: Around) -> None:
        self.turn = turn

    def __del__(self) -> None:
        safely(self.turn.leave, _outside())


async def followed_async(
    reader: _Reader, items: AsyncGenerator[Any, Any]
) -> AsyncGenerator[Any, None]:
    """As `followed`."""
    turn = reader.turn
    async with aclosing(items):
        try:
            while True:
                with turn:
                    item = await anext(items, _OVER)
                    turn.last = item is _OVER
                    turn.result = None if turn.last else item
                if item is _OVER:
                    return
                yield item
        finally:
            turn.leave(_outside())


def _tapped(
    tap: Tap, named: Named, original: Callable[..., Any], switch: Switch
) -> Callable[..., Any]:
    @functools.wraps(original)
    def tapped(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if switch.observer is not None:
            safely(tap, switch.observer, self, named(args, kwargs))
        return original(self, *args, **kwargs)

    return tapped


def moved(where: str) -> None:
    """Says that an SDK's release is newer than ours: there is nothing that fits at `where`, a module or a function."""
    log.warning(
        "promptcache does not know this release: %s has moved; calls that pass there are not seen",
        where,
    )


def fits(original: object, target: Target) -> TypeGuard[Callable[..., Any]]:
    """Whether the function is there and takes what the flow reads."""
    return (
        inspect.isfunction(original)
        and set(target.parameters) <= inspect.signature(original).parameters.keys()
    )


class Patches:
    """All that stands in one module, with one switch."""

    def __init__(self) -> None:
        self.module: object = None
        self._switch: Final = Switch()
        self._standing: list[Patch] = []
        self._missed: set[str] = set()

    def install(self, targets: tuple[Target, ...], observer: Observer) -> None:
        """Stands at every target that fits; one that still stands is only switched on again."""
        self._switch.observer = observer
        self._standing = [patch for patch in self._standing if patch.standing()]
        present = {(patch.owner, patch.name) for patch in self._standing}
        for target in targets:
            owner: type | None = getattr(self.module, target.owner, None)
            if owner is None or (owner, target.name) not in present:
                self._stand(owner, target)

    def _stand(self, owner: type | None, target: Target) -> None:
        original = owner.__dict__.get(target.name) if owner is not None else None
        if owner is None or not fits(original, target):
            if not target.optional:
                self._miss(
                    ".".join(
                        (*getattr(self.module, "__name__", "").split(), target.owner, target.name)
                    )
                )
            return
        twins = (
            patch.shell
            for patch in self._standing
            if patch.owner is owner and patch.original is original
        )
        # A wrapt wrapper must be asked through its class, else it does not know whose method it is.
        shell = next(twins, None) or _shell(target, original.__get__(None, owner), self._switch)
        self._standing.append(Patch(owner, target.name, original, shell, self._switch))
        setattr(owner, target.name, shell)

    def _miss(self, where: str) -> None:
        """Says once that a new release of an SDK has nothing that fits at `where`."""
        if where not in self._missed:
            self._missed.add(where)
            moved(where)

    def restore(self) -> None:
        """Restores every function where ours is outermost; the others pass straight through."""
        for patch in self._standing:
            patch.restore()
        self._standing = [patch for patch in self._standing if patch.standing()]
