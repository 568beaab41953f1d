"""The memory is bounded, keeps the calls in use, and works with threads and forks."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.common.generational_cache import GenerationalCache
from promptcache.diagnosis.cache_params import CacheParams
from promptcache.diagnosis.memory import PastCall, PastCallMemory, PrefixNode
from promptcache.prefix.fingerprint import BlockDetails, BlockFingerprint
from promptcache.prefix.words import WordSample

SCOPE = CacheParams("m", ())
NO_DETAILS = BlockDetails(WordSample(b"", b"", 0), 0, 0)


@given(st.integers(2, 40), st.lists(st.integers(0, 60), max_size=200))
def test_a_generational_cache_keeps_the_latest_half_and_is_bounded(
    capacity: int, keys: list[int]
) -> None:
    cache: GenerationalCache[int, int] = GenerationalCache(capacity)
    for key in keys:
        if cache.get(key) is None:
            cache[key] = key + 1
    assert len(cache) <= capacity
    assert len(set(cache)) == len(cache)
    recent = list(dict.fromkeys(reversed(keys)))[: capacity // 2]
    assert all(key in cache and cache.get(key) == key + 1 for key in recent)


def test_a_generational_cache_overwrites_and_clears() -> None:
    cache: GenerationalCache[str, int] = GenerationalCache(4)
    for key in "aab":
        cache[key] = ord(key)
    cache["c"] = 1
    assert not cache.is_recent("a")
    cache["a"] = 2
    assert cache.is_recent("a")
    assert (cache.get("a"), len(cache), cache.rotations) == (2, 3, 1)
    cache.clear()
    assert len(cache) == 0


class CallRecorder:
    """Record calls whose blocks are identified by integers."""

    def __init__(self, **bounds: int) -> None:
        self.memory = PastCallMemory(**bounds)

    def record_call(self, *digests: int, scope: CacheParams = SCOPE, at: float = 1.0) -> PastCall:
        past_call = PastCall(0, scope, digests[-1], len(digests), 1, at, digests, ended_at=at)
        with self.memory as memory:
            known = memory.count_known_leading_blocks(digests)
            number = memory.register_running_call(past_call)
            parents = (0, *digests)
            new = [
                PrefixNode(
                    digest,
                    parents[depth],
                    digest,
                    "messages",
                    depth,
                    "text",
                    10,
                    10 * (depth + 1),
                    BlockFingerprint(10, 64),
                )
                for depth, digest in enumerate(digests)
                if depth >= known
            ]
            memory.running_calls.pop(number)
            memory.store_call(number, past_call, new, dict.fromkeys(digests, NO_DETAILS))
        past_call.prefix_digests = ()
        return past_call

    def calls_through(self, digest: int) -> list[PastCall]:
        return [
            past_call
            for _, past_call in self.memory.numbered_calls_through_node(
                self.memory.nodes.get(digest)
            )
        ]


def test_the_longest_known_prefix_is_found() -> None:
    recorder = CallRecorder()
    recorder.record_call(1, 2, 3)
    assert [
        recorder.memory.count_known_leading_blocks(links)
        for links in ((1, 2, 3, 4), (1, 2, 9), (9, 8, 3), ())
    ] == [
        3,
        2,
        3,
        0,
    ]


def test_a_node_leads_to_the_latest_call_through_it() -> None:
    recorder = CallRecorder()
    first, second, third = (
        recorder.record_call(1, 2),
        recorder.record_call(1, 2, 3),
        recorder.record_call(1, 2, 3, 4),
    )
    assert recorder.calls_through(2)[0] is third
    assert recorder.calls_through(3)[0] is third
    assert first not in recorder.calls_through(2)
    assert second in recorder.calls_through(3) or third in recorder.calls_through(3)


def test_calls_with_different_parameters_are_all_found() -> None:
    recorder = CallRecorder()
    scopes = [CacheParams(str(n), ()) for n in range(6)]
    traces = [recorder.record_call(1, 2, scope=scope) for scope in scopes]
    assert recorder.calls_through(2) == traces[:1:-1]
    again = recorder.record_call(1, 2, scope=scopes[5])
    assert recorder.calls_through(2) == [again, *traces[4:1:-1]]


def test_ancestors_outlive_their_descendants() -> None:
    recorder = CallRecorder(max_nodes=40)
    recorder.record_call(1, 2, 3)
    for turn in range(200):
        recorder.record_call(1, 2, 3, 1000 + turn)
        recorder.record_call(5000 + turn, 6000 + turn)
    last = recorder.record_call(1, 2, 3, 4)
    assert [node.prefix_digest for node in recorder.memory.nodes_of_call(last)] == [1, 2, 3, 4]
    assert len(recorder.memory.nodes) <= 40


def test_an_evicted_call_is_not_found() -> None:
    recorder = CallRecorder(max_calls=4)
    recorder.record_call(1, 2)
    for number in range(10, 30):
        recorder.record_call(number)
    assert recorder.calls_through(2) == []
    assert recorder.calls_through(99) == []


def test_a_response_id_is_new_only_once() -> None:
    memory = PastCallMemory(max_calls=8)
    assert memory.is_first_time(("openai", "r1"))
    assert not memory.is_first_time(("openai", "r1"))
    assert memory.is_first_time(("openai", "r2"))


def test_an_id_is_new_in_one_of_many_threads() -> None:
    memory, counts = PastCallMemory(), list[int]()

    def count_new_ids() -> None:
        counts.append(sum(memory.is_first_time(number) for number in range(500)))

    threads = [threading.Thread(target=count_new_ids) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 500


@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # the test forks beside threads
@pytest.mark.parametrize("is_locked", [False, True])
def test_a_forked_child_has_its_own_lock(is_locked: bool) -> None:
    recorder = CallRecorder()
    recorder.record_call(1, 2)
    recorder.memory.register_running_call(PastCall(0, SCOPE, 3, 1, 0, 1.0, (3,)))
    if is_locked:
        recorder.memory.__enter__()
    child = os.fork()
    if not child:
        with recorder.memory as memory:
            depth = memory.count_known_leading_blocks((1, 2))
        os._exit(10 + depth if not memory.running_calls else 1)
    if is_locked:
        recorder.memory.__exit__()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (10 if is_locked else 12)
    assert recorder.memory.count_known_leading_blocks((1, 2)) == 2


@pytest.mark.parametrize(("is_locked", "depth"), [(False, 2), (True, 0)])
def test_a_reset_after_fork_drops_only_state_that_was_being_changed(
    is_locked: bool, depth: int
) -> None:
    recorder = CallRecorder()
    recorder.record_call(1, 2)
    if is_locked:
        recorder.memory.__enter__()
    recorder.memory.reset_after_fork()
    with recorder.memory as memory:
        assert memory.count_known_leading_blocks((1, 2)) == depth


def test_memory_works_on_a_platform_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    assert PastCallMemory().is_first_time("x")


def test_the_fork_hook_ignores_a_collected_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Any] = []

    def register(**registered: Any) -> None:
        hooks.append(registered["after_in_child"])

    monkeypatch.setattr(os, "register_at_fork", register)
    memory = PastCallMemory()
    memory.register_running_call(PastCall(0, SCOPE, 3, 1, 0, 1.0, (3,)))
    hooks[0]()
    assert memory.running_calls == {}
    del memory
    hooks[0]()
