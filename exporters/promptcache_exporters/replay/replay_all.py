"""Replay many policies, in two processes where the traffic is large."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Final, NamedTuple, cast

from promptcache_exporters.replay.placed_marks import PolicyError
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.replay import Outcome, replay
from promptcache_exporters.replay.traffic import Traffic

Result = Outcome | PolicyError
ReportProgress = Callable[[int, int], None]
"""Called with the number of a policy, and of its calls that are replayed."""
PROCESSES: Final = 2
MIN_CALLS: Final = 100_000
"""Below, a process of its own costs more than it saves."""


def replay_all(
    traffic: Traffic, policies: Sequence[Policy], on_progress: ReportProgress
) -> list[Result]:
    """Return the outcome of each policy, or why no provider would accept its requests."""
    if len(traffic) < MIN_CALLS or not _can_fork():
        return [
            _replay_one(traffic, policy, partial(on_progress, number))
            for number, policy in enumerate(policies)
        ]
    found = _replay_in_processes(traffic, policies, on_progress)
    return [found[number] for number in range(len(policies))]


def _can_fork() -> bool:
    """Return whether a child shares the memory of the traffic, and has a processor of its own."""
    has_fork = "fork" in multiprocessing.get_all_start_methods()
    return has_fork and os.name == "posix" and (os.cpu_count() or 1) >= PROCESSES


def _replay_one(traffic: Traffic, policy: Policy, on_progress: Callable[[int], None]) -> Result:
    try:
        return replay(traffic, policy, on_progress)
    except PolicyError as error:
        return error


class _Worker(NamedTuple):
    """A process that shares the memory of the traffic, and our end of the pipe to it."""

    process: ForkProcess
    connection: Connection


def _replay_in_processes(
    traffic: Traffic, policies: Sequence[Policy], on_progress: ReportProgress
) -> dict[int, Result]:
    """Return the results by the numbers of the policies. A process that is free gets the next."""
    gc.freeze()  # a collection would write to the shared pages
    workers = [_start_worker(traffic, policies) for _ in range(PROCESSES)]
    gc.unfreeze()
    found: dict[int, Result] = {}
    waiting = deque(range(len(policies)))
    busy: list[Connection] = []
    try:
        for worker in workers:
            _give_work(worker.connection, waiting, busy)
        while busy:
            for connection in cast("list[Connection]", wait(busy)):
                number, done, result = connection.recv()
                on_progress(number, done)
                if result is not None:
                    found[number] = result
                    busy.remove(connection)
                    _give_work(connection, waiting, busy)
    except EOFError:
        raise ChildProcessError("a process of the replay was ended from outside") from None
    finally:
        for worker in workers:
            worker.process.terminate()  # its work is done, or of no use any more
            worker.process.join()
            worker.connection.close()
    for number, outcome in found.items():
        if isinstance(outcome, Outcome):
            outcome.policy = policies[number]
    return found


def _give_work(connection: Connection, waiting: deque[int], busy: list[Connection]) -> None:
    if waiting:
        connection.send(waiting.popleft())
        busy.append(connection)


def _start_worker(traffic: Traffic, policies: Sequence[Policy]) -> _Worker:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(traffic, policies, ours, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(
    traffic: Traffic, policies: Sequence[Policy], other_end: Connection, connection: Connection
) -> None:
    """Replay the policies whose numbers come."""
    other_end.close()
    with suppress(EOFError, OSError):
        while True:
            number: int = connection.recv()

            def advance(done: int, number: int = number) -> None:
                connection.send((number, done, None))

            result = _replay_one(traffic, policies[number], advance)
            if isinstance(result, Outcome):
                result.policy = Policy()  # the caller has it, and its prices cannot be sent
            connection.send((number, len(traffic), result))
