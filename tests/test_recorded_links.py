"""The local table holds what rebuilds each prompt's chain, and nobody else gets it."""

from __future__ import annotations

import gzip
import random
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import openai
import pytest

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis, PendingCall
from promptcache.diagnosis.memory import PastCallMemory
from promptcache.diagnosis.recorded_links import MAX_CHAIN_AGE_SECONDS, LinkRecorder
from promptcache.model import Block, Param, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.prefix.link_text import PrefixLinks, parse_levels, parse_links
from promptcache.prefix.links import LinkHasher
from promptcache.telemetry.local_links import take_links
from promptcache_exporters.replay.recorded_links import LinkTree
from tests.support.diagnosis_lab import text_block
from tests.support.recorded_program import CALL, run_recorded
from tests.support.telemetry import Telemetry

KEY: Final = b"k" * 32


class Recorder:
    """A process that records, without an SDK. `now` is in epoch seconds."""

    def __init__(self, max_nodes: int = 65_536) -> None:
        self.now = 1e9
        memory = PastCallMemory(max_nodes)
        recorder = LinkRecorder(LinkHasher(KEY))
        self.diagnosis = Diagnosis(Settings(), memory=memory, link_recorder=recorder)

    def start(self, blocks: list[Block], params: tuple[Param, ...] = ()) -> PendingCall:
        body: dict[str, Any] = {}
        where = ("w", "openai", "chat", "gpt-4.1", "host", None, False)
        request = Request(*where, body, b"tenant", self.now)
        return self.diagnosis.start(request, ParsedPrompt(tuple(blocks), params))

    def finish(self, call: PendingCall, *, has_failed: bool = False) -> None:
        self.diagnosis.finish(
            call,
            facts=ResponseFacts(),
            usage=None if has_failed else Usage(100, 100, 0, None),
            cost=None,
            has_failed=has_failed,
            ended_at=self.now,
        )

    def record(self, blocks: list[Block], **options: Any) -> str:
        call = self.start(blocks)
        self.finish(call, **options)
        assert call.links is not None
        return call.links


def true_chain(blocks: list[Block]) -> list[str]:
    hasher, links = LinkHasher(KEY), [""]
    for block in blocks:
        links.append(hasher.link_block(links[-1], block.section, block.data))
    return links[1:]


def rebuild(rows: list[str]) -> Iterator[list[str] | None]:
    """Yield the links of each row's whole chain, None if blocks are missing."""
    parsed, tree = [parse_links(row) for row in rows], LinkTree()
    ends = [tree.add(links.known_link, links.blocks) for links in parsed]
    names: dict[int, str] = {}
    for links, node in zip(parsed, ends, strict=True):
        for block in reversed(links.blocks):
            names[node], node = block.link, tree.parents[node]
    for links, end in zip(parsed, ends, strict=True):
        depth, node, chain = tree.depth_of(end), end, list[str]()
        if depth != links.known_depth + len(links.blocks):
            yield None
            continue
        while node:
            chain.insert(0, names[node])
            node = tree.parents[node]
        yield chain


def grow(
    conversations: list[list[Block]], chance: random.Random
) -> tuple[list[Block], dict[str, Any]]:
    """Begin a conversation, go on with one, change an old turn of one, or let a call fail."""
    kind = chance.choice(("new", "grow", "grow", "grow", "edit", "fail"))
    if kind == "new" or not conversations:
        system = [text_block("system", 0, f"You are agent {chance.randrange(3)}.")]
        conversations.append([*system, text_block("messages", 0, str(chance.random()))])
        return conversations[-1], {}
    blocks = chance.choice(conversations)
    if kind == "edit":
        place = chance.randrange(1, len(blocks))
        blocks[place] = text_block("messages", place - 1, str(chance.random()))
    for _ in range(chance.choice((1, 2, 12))):
        blocks.append(text_block("messages", len(blocks) - 1, str(chance.random())))
    return blocks, {"has_failed": kind == "fail"}


@pytest.mark.parametrize("max_nodes", [65_536, 60])
@pytest.mark.parametrize("seed", range(5))
def test_the_table_rebuilds_the_true_chain_of_each_call(seed: int, max_nodes: int) -> None:
    """Conversations begin, grow, change in the middle, fail, and are forgotten."""
    chance, recorder = random.Random(seed), Recorder(max_nodes)
    conversations: list[list[Block]] = []
    rows: list[str] = []
    expected: list[list[str]] = []
    for _ in range(150):
        recorder.now += chance.choice((1, 60, 1000))
        blocks, options = grow(conversations, chance)
        rows.append(recorder.record(list(blocks), **options))
        expected.append(true_chain(blocks))
    assert list(rebuild(rows)) == expected
    assert max(map(len, expected)) > 64


def test_a_row_holds_the_new_blocks_only() -> None:
    recorder = Recorder()
    blocks = [text_block("system", 0, "You are an agent.")]
    lengths: list[int] = []
    for turn in range(200):
        blocks += [text_block("messages", 2 * turn + n, f"{turn} {n}") for n in range(2)]
        lengths.append(len(recorder.record(list(blocks))))
    assert max(lengths) - min(lengths) <= 16


def test_rows_of_more_than_an_hour_ago_are_not_needed() -> None:
    """They may have left the table."""
    recorder = Recorder()
    blocks = [text_block("system", 0, "You are an agent."), text_block("messages", 0, "a")]
    first = recorder.record(list(blocks))
    rows = [first]
    for turn in range(30):
        recorder.now += MAX_CHAIN_AGE_SECONDS / 10
        blocks.append(text_block("messages", turn + 1, str(turn)))
        rows.append(recorder.record(list(blocks)))
    assert list(rebuild(rows[13:]))[-1] == true_chain(blocks)
    assert sum(parse_links(row).known_depth == 0 for row in rows) == 3


def test_a_chain_whose_rows_are_missing_is_not_made_up() -> None:
    recorder = Recorder()
    blocks = [text_block("system", 0, "You are an agent.")]
    recorder.record(list(blocks))
    row = recorder.record([*blocks, text_block("messages", 0, "a")])
    assert list(rebuild([row])) == [None]


def read_one(params: tuple[Param, ...] = (), *blocks: Block) -> PrefixLinks:
    call = Recorder().start([*blocks], params)
    assert call.links is not None
    return parse_links(call.links)


def test_a_row_has_sections_sizes_and_the_links_at_breakpoints() -> None:
    blocks = [
        text_block("tools", 0, "t" * 50),
        text_block("system", 0, "s" * 100, "1h"),
        text_block("messages", 0, "m" * 10, ""),
    ]
    links, chain = read_one((), *blocks), true_chain(blocks)
    assert [block.section for block in links.blocks] == ["tools", "system", "messages"]
    assert [block.link for block in links.blocks] == chain
    assert [block.size for block in links.blocks] == [50, 100, 10]
    assert links.marked_links == (chain[1], chain[2])


def test_a_changed_parameter_changes_the_digest_of_its_level_alone() -> None:
    block = text_block("system", 0, "You are an agent.")
    first = read_one((Param("a", 1, "tools"), Param("b", 1, "messages")), block)
    second = read_one((Param("a", 1, "tools"), Param("b", 2, "messages")), block)
    levels, others = parse_levels(first.params), parse_levels(second.params)
    assert levels.keys() == {"tools", "messages"}
    assert levels["tools"] == others["tools"]
    assert levels["messages"] != others["messages"]
    assert (first.key_id, first.tenant, first.blocks[-1].link) == (
        second.key_id,
        second.tenant,
        second.blocks[-1].link,
    )


def test_links_follow_from_the_key_and_the_text_alone() -> None:
    """Another process, or another release of Python, makes the same ones."""
    hasher = LinkHasher(KEY)
    block = {"role": "user", "content": "Grüße", "cache": [1, 2.5, None, True]}
    assert hasher.link_block("", "messages", block) == "UyVbU3cZ"
    assert hasher.key_id == "8J"
    assert LinkHasher(b"other" * 8).link_block("", "messages", block) != "UyVbU3cZ"


@contextmanager
def collector() -> Generator[tuple[str, list[bytes]]]:
    """Serve OTLP over HTTP, and collect the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            is_packed = self.headers.get("content-encoding") == "gzip"
            bodies.append(gzip.decompress(body) if is_packed else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def read_links(path: Path) -> list[PrefixLinks]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT prefix_links FROM llm_calls ORDER BY rowid").fetchall()
    return [parse_links(text) for (text,) in rows]


OTLP: Final = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


TWO_PROCESSES: Final = f"""
import multiprocessing
{CALL}
if __name__ == "__main__":
    call()
    child = multiprocessing.get_context("spawn").Process(target=call)
    child.start()
    child.join()
"""


def test_an_otlp_exporter_beside_run_gets_neither_chain_nor_links(
    emulator_url: str, tmp_path: Path
) -> None:
    """And two processes make the same links of the same prompt."""
    (tmp_path / "app.py").write_text(TWO_PROCESSES)
    with collector() as (endpoint, bodies):
        more = {**OTLP, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        process = run_recorded(tmp_path, emulator_url, "app.py", **more)
    assert process.returncode == 0, process.stderr
    first, second = read_links(tmp_path / "promptcache.db")
    assert first == second
    assert len(first.blocks) == 2
    exported = b"".join(bodies)
    assert exported.count(b"promptcache.prefix.hash") == 2, "it gets the spans"
    assert b"chain" not in exported
    words = [*(block.link for block in first.blocks), first.tenant]
    assert not [word for word in words if word.encode() in exported]


def call_once(url: str) -> None:
    messages: Any = [{"role": "user", "content": "Where is it?"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="the key of a tenant") as client:
        client.chat.completions.create(model="gpt-5.4", messages=messages)


def test_under_a_key_that_the_user_set_chains_are_exported(
    instrumented: Callable[..., Telemetry], emulator_url: str
) -> None:
    telemetry = instrumented(Settings(hash_key="own" * 10, hashes="all"), recording_key=KEY)
    call_once(emulator_url)
    assert len(telemetry.attributes["promptcache.prefix.chain"]) == 1
    text = take_links(telemetry.span.context)
    assert text is not None
    links = parse_links(text)
    assert links.key_id == LinkHasher(KEY).key_id
    assert links.blocks[-1].link not in repr(telemetry.attributes)
    assert take_links(telemetry.span.context) is None, "they are handed over once"


@pytest.mark.parametrize(
    ("settings", "key"), [(Settings(hashes="none"), KEY), (Settings(hashes="all"), None)]
)
def test_without_a_key_or_where_no_hash_is_wanted_there_are_no_links(
    instrumented: Callable[..., Telemetry],
    emulator_url: str,
    settings: Settings,
    key: bytes | None,
) -> None:
    telemetry = instrumented(settings, recording_key=key)
    call_once(emulator_url)
    assert take_links(telemetry.span.context) is None
