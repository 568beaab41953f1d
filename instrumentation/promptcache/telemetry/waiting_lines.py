"""Find the line of the application that waits for the work of this task or thread.

A framework makes its calls in tasks and threads of its own, where no line of the application is on
the stack. The line that a person would name awaits their result. Python keeps who waits for whom:
a future has callbacks, which belong to the task that awaits it, and a waiting thread stands in
`Condition.wait`. All of it is only read. Nothing is said where nobody waits.
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from promptcache.model import CallSite
from promptcache.telemetry.coroutine_chain import coroutines_of_task, frame_of_coroutine
from promptcache.telemetry.queue_readers import find_readers, queues_of_thread
from promptcache.telemetry.stack_lines import (
    current_task,
    first_frame_of_task,
    innermost_line,
    line_of_frame,
)

_MAX_STEPS: Final = 24
"""How many tasks, futures and threads are looked at."""
_MAX_THREADS: Final = 64
"""With more threads nobody is looked for: to read the variables of a frame takes time."""
_THREAD_WAITS: Final = frozenset(
    getattr(function, "__code__", None)
    for function in (
        threading.Condition.wait,
        threading.Thread.join,
        getattr(threading.Thread, "_wait_for_tstate_lock", None),
    )
) - {None}


def find_waiting_line() -> CallSite | None:
    """Return the innermost line of the application that waits for this call, None if none does.

    If nobody awaits the task, this is the line that reads its results from a queue.
    """
    seen: dict[int, Any] = {}
    work: list[Any] = [current_task() or threading.current_thread()]
    while work:
        line = _line_of_waiters(work, seen)
        if line is not None or len(seen) >= _MAX_STEPS:
            return line
        work = find_readers(seen.values())
        lines = {line for reader in work if (line := _line_of_task(reader)) is not None}
        if lines:
            return lines.pop() if len(lines) == 1 else None
    return None


def _line_of_waiters(work: list[Any], seen: dict[int, Any]) -> CallSite | None:
    while work and len(seen) < _MAX_STEPS:
        one = work.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        for waiting in _waiting_for(one):
            if isinstance(waiting, FrameType):
                line = innermost_line(waiting)
            else:
                line = _line_of_task(waiting)
                work.append(waiting)
            if line is not None:
                return line
    return None


def _waiting_for(work: Any) -> Iterator[Any]:
    """Yield what waits for `work`, the next first: frames of threads, tasks and futures."""
    if isinstance(work, threading.Thread):
        futures = list(_futures_of_stack(sys._getframe(1)))  # pyright: ignore[reportPrivateUsage]  # a stack walk
        yield from futures or _threads_that_wait_on(_awaited_of_thread(work))
    elif isinstance(work, concurrent.futures.Future):
        yield from _owners_of_callbacks(work, _attribute(work, "_done_callbacks") or ())
        yield from _threads_that_wait_on(frozenset(_conditions_with_waiters(work)))
    elif (callbacks := getattr(work, "_callbacks", None)) is not None:
        yield from _owners_of_callbacks(work, [callback for callback, _ in callbacks])


def _awaited_of_thread(thread: threading.Thread) -> frozenset[int]:
    """Return the ids of that on which others wait who wait for `thread`: it, and its queues."""
    conditions = [one.not_empty for one in queues_of_thread(thread)]
    return frozenset({id(thread), *map(id, conditions)})


def _owners_of_callbacks(work: Any, callbacks: Any) -> Iterator[Any]:
    """Yield the tasks and futures that the callbacks of the future `work` belong to.

    The callback of an awaiting task is a method of the task. Those of `gather`, `wait`, `wait_for`,
    `shield`, of task groups and of futures in other threads hold the future that they set next.
    """
    for callback in list(callbacks):
        owner = _attribute(callback, "__self__")
        if owner is not None:
            yield from _waiting_objects(owner)
        for argument in _attribute(callback, "args") or ():  # of a `functools.partial`
            yield from _waiting_objects(argument)
        for cell in _attribute(callback, "__closure__") or ():
            yield from _waiting_objects(_content_of_cell(cell))
        if "run_until_complete" in getattr(callback, "__qualname__", ""):
            yield from _callers_of_event_loop(work)


def _content_of_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is empty
        return None


def _waiting_objects(one: Any) -> Iterator[Any]:
    """Yield `one` if it is a future or a task, or the task that a task group belongs to."""
    if _is_future(one):
        yield one
    elif type(one).__name__ == "TaskGroup":
        scope = getattr(one, "cancel_scope", None)  # anyio's
        task = getattr(one, "_parent_task", None) or getattr(scope, "_host_task", None)
        if task is not None:
            yield task


def _is_future(one: Any) -> bool:
    return isinstance(one, concurrent.futures.Future) or hasattr(one, "_asyncio_future_blocking")


def _line_of_task(task: Any) -> CallSite | None:
    """Return the innermost line of the application in the coroutines of a task that waits."""
    line = None
    for coroutine in coroutines_of_task(task):
        frame = frame_of_coroutine(coroutine)
        if frame is not None:
            line = line_of_frame(frame) or line
    return line


def _attribute(one: Any, name: str) -> Any:
    return getattr(one, name, None)


def _callers_of_event_loop(task: Any) -> Iterator[Any]:
    """Yield the frame that runs the event loop of `task` until a task is complete.

    Then yield what its thread works for, since the whole of the thread waits for that task.
    """
    thread_id = _attribute(task.get_loop(), "_thread_id")
    frame: FrameType | None = sys._current_frames().get(thread_id)  # pyright: ignore[reportPrivateUsage]  # the stack of a thread
    first_frame = first_frame_of_task(current_task())
    if thread_id == threading.get_ident() and first_frame is not None:
        while frame is not None and frame is not first_frame:
            frame = frame.f_back
    while frame is not None and frame.f_code.co_name != "run_until_complete":
        frame = frame.f_back
    if frame is not None:
        yield frame
        thread = next((one for one in threading.enumerate() if one.ident == thread_id), None)
        yield from list(_futures_of_stack(frame)) or [thread]


def _futures_of_stack(frame: FrameType | None) -> Iterator[Any]:
    """Yield the futures whose work runs on this stack: its thread belongs to a pool."""
    while frame is not None:
        code = frame.f_code
        if code.co_qualname == "_WorkItem.run":
            future = getattr(frame.f_locals.get("self"), "future", None)
            if future is not None:
                yield future
        elif code.co_qualname == "WorkerThread.run" and "future" in code.co_varnames:  # anyio's
            yield frame.f_locals.get("future")
        frame = frame.f_back


def _conditions_with_waiters(future: Any) -> Iterator[int]:
    """Yield the ids of the conditions on which a thread waits for `future` now."""
    events = [getattr(waiter, "event", None) for waiter in list(getattr(future, "_waiters", ()))]
    conditions = [getattr(future, "_condition", None)]
    conditions += [getattr(event, "_cond", None) for event in events]
    for condition in conditions:
        if getattr(condition, "_waiters", None):
            yield id(condition)


def _threads_that_wait_on(targets: frozenset[int]) -> Iterator[Any]:
    """Yield the innermost frame of each thread that waits on one of the objects with these ids.

    Then yield the future that this thread works for, if it belongs to a pool.
    """
    frames = sys._current_frames() if targets else {}  # pyright: ignore[reportPrivateUsage]  # the documented way to the stacks of threads
    if len(frames) > _MAX_THREADS:
        return
    for frame in frames.values():
        waiting: FrameType | None = frame
        while waiting is not None and waiting.f_code in _THREAD_WAITS:
            if id(waiting.f_locals.get("self")) in targets:
                yield frame
                yield from _futures_of_stack(frame)
                break
            waiting = waiting.f_back
