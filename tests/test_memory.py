"""The memory is bounded, keeps what is used, and survives threads and forks."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.common.generational_cache import GenerationalCache
from promptcache.diagnosis.cache_params import CacheParams
from promptcache.diagnosis.memory import Memory, Node, PastCall
from promptcache.prefix.fingerprint import BlockFingerprint

SCOPE = CacheParams("m", ())


@given(st.integers(2, 40), st.lists(st.integers(0, 60), max_size=200))
def test_generations_hold_the_last_used_half_and_never_more_than_all(
    capacity: int, keys: list[int]
) -> None:
    held: GenerationalCache[int, int] = GenerationalCache(capacity)
    for key in keys:
        if held.get(key) is None:
            held[key] = key + 1
    assert len(held) <= capacity
    assert len(set(held)) == len(held)
    recent = list(dict.fromkeys(reversed(keys)))[: capacity // 2]
    assert all(key in held and held.get(key) == key + 1 for key in recent)


def test_generations_overwrite_and_clear() -> None:
    held: GenerationalCache[str, int] = GenerationalCache(4)
    for key in "aab":
        held[key] = ord(key)
    held["c"] = 1
    assert not held.is_recent("a")
    held["a"] = 2
    assert held.is_recent("a")
    assert (held.get("a"), len(held), held.rotations) == (2, 3, 1)
    held.clear()
    assert len(held) == 0


class Caller:
    """Learns calls whose blocks are named by integers."""

    def __init__(self, **bounds: int) -> None:
        self.memory = Memory(**bounds)

    def call(self, *links: int, scope: CacheParams = SCOPE, at: float = 1.0) -> PastCall:
        trace = PastCall(0, scope, links[-1], len(links), 1, at, links, ended_at=at)
        with self.memory as memory:
            known = memory.known_depth(links)
            number = memory.register_call(trace)
            parents = (0, *links)
            new = [
                Node(
                    link,
                    parents[depth],
                    link,
                    "messages",
                    depth,
                    "text",
                    10,
                    10 * (depth + 1),
                    BlockFingerprint(10, 64, b""),
                )
                for depth, link in enumerate(links)
                if depth >= known
            ]
            memory.running_calls.pop(number)
            memory.store_call(number, trace, new, ())
        trace.prefix_digests = ()
        return trace

    def through(self, link: int) -> list[PastCall]:
        return [trace for _, trace in self.memory.calls_through(self.memory.nodes.get(link))]


def test_the_longest_known_beginning_is_found() -> None:
    caller = Caller()
    caller.call(1, 2, 3)
    assert [
        caller.memory.known_depth(links) for links in ((1, 2, 3, 4), (1, 2, 9), (9, 8, 3), ())
    ] == [
        3,
        2,
        3,
        0,
    ]


def test_a_node_leads_to_the_last_call_that_went_on() -> None:
    caller = Caller()
    first, second, third = caller.call(1, 2), caller.call(1, 2, 3), caller.call(1, 2, 3, 4)
    assert caller.through(2)[0] is third
    assert caller.through(3)[0] is third
    assert first not in caller.through(2)
    assert second in caller.through(3) or third in caller.through(3)


def test_calls_of_other_scopes_stay_visible_beside_each_other() -> None:
    caller = Caller()
    scopes = [CacheParams(str(n), ()) for n in range(6)]
    traces = [caller.call(1, 2, scope=scope) for scope in scopes]
    assert caller.through(2) == traces[:1:-1]
    again = caller.call(1, 2, scope=scopes[5])
    assert caller.through(2) == [again, *traces[4:1:-1]]


def test_ancestors_outlive_what_stands_on_them() -> None:
    caller = Caller(max_nodes=40)
    caller.call(1, 2, 3)
    for turn in range(200):
        caller.call(1, 2, 3, 1000 + turn)
        caller.call(5000 + turn, 6000 + turn)
    last = caller.call(1, 2, 3, 4)
    assert [node.prefix_digest for node in caller.memory.nodes_of_call(last)] == [1, 2, 3, 4]
    assert len(caller.memory.nodes) <= 40


def test_a_forgotten_call_is_not_found() -> None:
    caller = Caller(max_calls=4)
    caller.call(1, 2)
    for number in range(10, 30):
        caller.call(number)
    assert caller.through(2) == []
    assert caller.through(99) == []


def test_counted_once() -> None:
    memory = Memory(max_calls=8)
    assert memory.is_first_time(("openai", "r1"))
    assert not memory.is_first_time(("openai", "r1"))
    assert memory.is_first_time(("openai", "r2"))


def test_many_threads_count_each_once() -> None:
    memory, counted = Memory(), list[int]()

    def work() -> None:
        counted.append(sum(memory.is_first_time(number) for number in range(500)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counted) == 500


@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # forking beside threads is what is tried
@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_child_has_a_lock_of_its_own(busy: bool) -> None:
    caller = Caller()
    caller.call(1, 2)
    caller.memory.register_call(PastCall(0, SCOPE, 3, 1, 0, 1.0, (3,)))
    if busy:
        caller.memory.__enter__()
    child = os.fork()
    if not child:
        with caller.memory as memory:
            kept = memory.known_depth((1, 2))
        os._exit(10 + kept if not memory.running_calls else 1)
    if busy:
        caller.memory.__exit__()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (10 if busy else 12)
    assert caller.memory.known_depth((1, 2)) == 2


@pytest.mark.parametrize(("held", "kept"), [(False, 2), (True, 0)])
def test_renewing_forgets_only_what_may_be_half_done(held: bool, kept: int) -> None:
    caller = Caller()
    caller.call(1, 2)
    if held:
        caller.memory.__enter__()
    caller.memory.reset_after_fork()
    with caller.memory as memory:
        assert memory.known_depth((1, 2)) == kept


def test_a_platform_without_fork_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    assert Memory().is_first_time("x")


def test_a_memory_that_is_gone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Any] = []

    def register(**given: Any) -> None:
        hooks.append(given["after_in_child"])

    monkeypatch.setattr(os, "register_at_fork", register)
    memory = Memory()
    memory.register_call(PastCall(0, SCOPE, 3, 1, 0, 1.0, (3,)))
    hooks[0]()
    assert memory.running_calls == {}
    del memory
    hooks[0]()
