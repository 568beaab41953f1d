"""The small helpers of `promptcache.common` that have no test file of their own."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from threading import Thread

import pytest

from promptcache.common.bounded_dict import BoundedDict
from promptcache.common.fork import register_after_fork_in_child


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def count(self) -> None:
        self.calls += 1


def test_a_bounded_dict_evicts_the_key_that_was_added_first() -> None:
    bounded: BoundedDict[str, int] = BoundedDict(2)
    bounded["a"], bounded["b"] = 1, 2
    bounded["a"] = 3
    assert bounded["a"] == 3
    bounded["c"] = 4
    assert bounded == {"b": 2, "c": 4}


def test_a_bounded_dict_without_capacity_holds_one_key() -> None:
    bounded: BoundedDict[int, int] = BoundedDict(0)
    bounded[1] = bounded[2] = 0
    assert list(bounded) == [2]


def test_a_bounded_dict_can_lose_a_race_for_its_oldest_key() -> None:
    bounded: BoundedDict[int, int] = BoundedDict(1)
    bounded._evict_oldest()  # pyright: ignore[reportPrivateUsage]  # as if another thread had evicted it
    assert not bounded


def test_threads_share_a_bounded_dict() -> None:
    bounded: BoundedDict[int, int] = BoundedDict(8)

    def fill(start: int) -> None:
        for key in range(start, start + 5000):
            bounded[key] = key

    threads = [Thread(target=fill, args=(start,)) for start in (0, 10_000, 20_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bounded[-1] = 0
    assert len(bounded) <= 8


def count_in_forked_child(counter: Counter) -> int:
    """Return the calls that a forked child has counted."""
    child = os.fork()
    if child == 0:
        os._exit(counter.calls)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_method_runs_in_each_forked_child_and_not_in_the_parent() -> None:
    counter = Counter()
    register_after_fork_in_child(counter.count)
    assert (count_in_forked_child(counter), count_in_forked_child(counter), counter.calls) == (
        1,
        1,
        0,
    )


def test_a_fork_hook_does_not_keep_its_object_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Callable[[], None]] = []

    def register(*, after_in_child: Callable[[], None]) -> None:
        hooks.append(after_in_child)

    monkeypatch.setattr(os, "register_at_fork", register)
    counter = Counter()
    state = counter.__dict__
    register_after_fork_in_child(counter.count)
    hooks[0]()
    del counter
    gc.collect()
    hooks[0]()
    assert state == {"calls": 1}


def test_without_fork_there_is_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    register_after_fork_in_child(Counter().count)
