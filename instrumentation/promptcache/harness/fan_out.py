"""Start many calls with one cold prefix such that only one of them writes it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

if TYPE_CHECKING:
    from asyncio import Event

T = TypeVar("T")


@overload
async def lead(*calls: Awaitable[T], return_exceptions: Literal[False] = False) -> list[T]: ...


@overload
async def lead(
    *calls: Awaitable[T], return_exceptions: Literal[True]
) -> list[T | BaseException]: ...


async def lead(*calls: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
    """Run the first call alone, then all others at once. Return their results in order.

    A provider's cache entry can be read once the first answer begins. Calls that start together all
    miss it, and each pays for the write. Here the first call has begun to answer before the others
    start: an awaitable that returns a stream is done by then, any other one runs to its end. If the
    first call fails, the next one takes its place.

    Order, exceptions and `return_exceptions` are those of `asyncio.gather`. Give coroutines and not
    tasks, which run already.
    """
    import asyncio  # here, since it takes longer to import than the rest of the harness

    turns = [asyncio.Event() for _ in calls]
    if turns:
        turns[0].set()
    runs = [_run_in_turn(call, number, turns) for number, call in enumerate(calls)]
    return await asyncio.gather(*runs, return_exceptions=return_exceptions)


async def _run_in_turn(call: Awaitable[T], number: int, turns: list[Event]) -> T:
    """Run a call once it is its turn. A success lets all others start, a failure the next one."""
    is_started = False
    following = turns[number + 1 : number + 2]
    try:
        await turns[number].wait()
        is_started = True
        result = await call
        following = turns
        return result
    finally:
        if not is_started:
            _discard(call)
        for turn in following:
            turn.set()


def _discard(call: Awaitable[Any]) -> None:
    """End a call that was cancelled before its turn, as `asyncio.gather` does."""
    for name in ("close", "cancel"):
        if (end := getattr(call, name, None)) is not None:
            end()
            return
