"""Find who reads the queue that a task or thread of a framework fills.

A framework often starts a task, and gives its results to the caller through a queue. Nobody awaits
that task. Its reader stands in the `get` of the queue, and its coroutines hold the task, since they
end it. A thread holds the queue in the function that it runs.

No reader is named if it holds another running task that is as close, because this task may then
work for somebody else. Objects are only read: no property runs, and the variables of a running
function are left alone, because in Python 3.12 and older a look at them changes what its `locals()`
returned.
"""

from __future__ import annotations

import gc
import queue
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from promptcache.telemetry.coroutine_chain import code_of_coroutine, coroutines_of_task
from promptcache.telemetry.stack_lines import is_code_of_application

_MAX_TASKS: Final = 64
"""With more tasks in a loop nobody is looked for: to follow their coroutines takes time."""
_MAX_OBJECTS: Final = 600
"""How many objects of one reader are looked at."""
_MAX_DISTANCE: Final = 3
"""A local variable is at 1, an attribute of it at 2."""
_MAX_PARTS: Final = 64
"""Larger containers and objects hold data."""
_STREAM_READ: Final = "MemoryObjectReceiveStream.receive"
"""The coroutine that reads a memory stream of anyio."""
_CONTAINERS: Final = frozenset({set, frozenset, list, tuple})
_LEAVES: Final = (str, bytes, int, float, type(None), type, CodeType, FunctionType, ModuleType)
"""Types of objects that hold no task. A class or a module is no part of one run."""


def find_readers(tasks: Iterable[Any]) -> list[Any]:
    """Return the tasks of this event loop that wait for a queue and hold one of `tasks`."""
    asyncio: Any = sys.modules.get("asyncio")
    targets = {id(task) for task in tasks}
    if asyncio is None or asyncio._get_running_loop() is None:
        return []
    others = [task for task in asyncio.all_tasks() if id(task) not in targets]
    if len(others) > _MAX_TASKS:
        return []
    return [task for task in others if _is_reader(task, targets)]


def queues_of_thread(thread: threading.Thread) -> Iterator[Any]:
    """Yield the queues that the function of a running thread holds."""
    held: list[Any] = [getattr(thread, "_target", None), *getattr(thread, "_args", ())]
    for _ in range(_MAX_PARTS):
        if not held:
            return
        one = held.pop()
        if type(one) is queue.Queue:
            yield one
        elif type(one) is FunctionType:
            held += one.__closure__ or ()
        elif type(one) in {CellType, MethodType, partial}:
            held += gc.get_referents(one)


def _is_reader(task: Any, targets: set[int]) -> bool:
    chain = list(coroutines_of_task(task))
    return _reads_queue(task, chain) and _holds(_behind_application(chain), targets)


def _behind_application(chain: list[Any]) -> list[Any]:
    """Return the coroutines that the innermost one of the application awaits."""
    for position in range(len(chain), 0, -1):
        code = code_of_coroutine(chain[position - 1])
        if code is not None and is_code_of_application(code):
            return chain[position:]
    return chain


def _reads_queue(task: Any, chain: list[Any]) -> bool:
    """Return whether `task`, which stands in the coroutines of `chain`, waits for a queue.

    It may wait for a task that reads the queue, or for the first of several by `asyncio.wait`.
    """
    if any(map(_is_read, chain)):
        return True
    awaited: list[Any] = [getattr(task, "_fut_waiter", None)]
    if chain and code_of_coroutine(chain[-1]) is _codes_of_asyncio()["_wait"]:
        held: list[Any] = gc.get_referents(chain[-1])
        sets: list[set[Any]] = [one for one in held if type(one) is set]
        awaited += [one for tasks in sets for one in tasks]
    return any(_is_task(one) and _is_read(one.get_coro()) for one in awaited)


def _is_read(coroutine: Any) -> bool:
    """Return whether a coroutine waits for a queue of asyncio or a memory stream of anyio."""
    code = code_of_coroutine(coroutine)
    return code is not None and (
        code is _codes_of_asyncio()["Queue.get"] or code.co_qualname == _STREAM_READ
    )


@lru_cache(maxsize=1)
def _codes_of_asyncio() -> dict[str, CodeType | None]:
    """Return the code of the coroutines of asyncio in which a task waits for others."""
    asyncio: Any = sys.modules["asyncio"]
    functions = {
        "Queue.get": asyncio.Queue.get,
        "Queue.join": asyncio.Queue.join,
        "Event.wait": asyncio.Event.wait,
        "Condition.wait": asyncio.Condition.wait,
        "_wait": getattr(asyncio.tasks, "_wait", None),
    }
    return {name: getattr(function, "__code__", None) for name, function in functions.items()}


def _is_task(one: Any) -> bool:
    return issubclass(type(one), sys.modules["asyncio"].Task)


def _holds(roots: list[Any], targets: set[int]) -> bool:
    """Return whether the variables of `roots` lead to a target, and to no other task as soon."""
    level: list[Any] = [held for root in roots for held in gc.get_referents(root)]
    seen: set[int] = {id(root) for root in roots}
    for _ in range(_MAX_DISTANCE):
        level = list(_unseen(level, seen))
        others = [one for one in level if _is_task(one) and id(one) not in targets]
        is_found = any(_is_or_contains(one, targets) for one in level)
        if is_found or len(seen) > _MAX_OBJECTS or any(map(_may_call, others)):
            return is_found and not any(map(_may_call, others))
        level = [part for one in level for part in _parts(one)]
    return False


def _is_or_contains(one: Any, targets: set[int]) -> bool:
    if type(one) not in _CONTAINERS:
        return id(one) in targets
    return len(one) <= _MAX_PARTS and any(id(item) in targets for item in one)


def _unseen(objects: Iterable[Any], seen: set[int]) -> Iterator[Any]:
    """Yield the objects that are not in `seen`; for the cell of a variable, what it holds."""
    for one in objects:
        held = gc.get_referents(one) if type(one) is CellType else (one,)
        for value in held:
            if not issubclass(type(value), _LEAVES) and id(value) not in seen:
                seen.add(id(value))
                yield value


def _may_call(task: Any) -> bool:
    """Return whether a task may make calls: it is neither done, nor does it wait for others."""
    codes = _codes_of_asyncio().values()
    return not task.done() and all(
        code_of_coroutine(one) not in codes for one in coroutines_of_task(task)
    )


def _values(mapping: Any) -> Collection[Any]:
    values: Collection[Any] = mapping.values()
    return values


def _parts(one: Any) -> Collection[Any]:
    """Return the values of the attributes of an object, or the items of a small container."""
    parts: Collection[Any] = ()
    if type(one) in _CONTAINERS:
        parts = one
    elif type(one) is dict:
        parts = _values(one)
    else:
        with suppress(AttributeError):
            parts = _values(object.__getattribute__(one, "__dict__"))
    return parts if len(parts) <= _MAX_PARTS else ()
