"""Measure seconds and memory of `promptcache whatif` over many calls and eight policies (on Linux).

    python -m benchmarks.whatif_rows 1000000

A table is filled with seeded conversations, a week of them for a million calls. They have
breakpoints at the system prompt and at the tail, and the usage that their cache would report. The
memory is that of all processes together: a page that two of them share counts once.
"""

from __future__ import annotations

import json
import random
import re
import resource
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from promptcache_exporters.database.schema import CALLS_TABLE
from promptcache_exporters.database.sqlite_file import open_or_create_for_writing

SECONDS_A_CALL: Final = 7 * 86_400 / 1e6
START: Final = 1_794_000_000.0
TURNS: Final = 20
APPLICATIONS: Final = 20
SYSTEM_TOKENS: Final = 6_000
TURN_TOKENS: Final = 800
PAUSES: Final = (15, 40, 90, 200, 280, 320, 700, 2000)
POLICIES: Final = """
policy = [
    {ttl = {tools = "1h", system = "1h", messages = "1h"}},
    {ttl = {"tools+system" = "1h"}},
    {marks = "static,tail"},
    {marks = "tail"},
    {ping = "280x2"},
    {model = "claude-opus-4-8"},
    {caching = "unlimited"},
]
"""
"""Seven beside the record."""


def make_link(chance: random.Random) -> str:
    return urlsafe_b64encode(chance.randbytes(6)).decode()


class Conversation:
    """A conversation that grows by a question and an answer with each call."""

    def __init__(self, number: int, system_link: str, start: float) -> None:
        self.number, self.at = number, start
        self.known_link, self.depth, self.tokens = system_link, 1, SYSTEM_TOKENS
        self.read_until = 0.0

    def make_row(self, chance: random.Random, *, is_first_of_application: bool) -> dict[str, Any]:
        """Return the next call, and wait for a random time."""
        is_known = self.at < self.read_until
        read = self.tokens if is_known else 0 if is_first_of_application else SYSTEM_TOKENS
        tokens = self.tokens + TURN_TOKENS
        links = [make_link(chance) for _ in range(1 if self.depth == 1 else 2)]
        known = "" if is_first_of_application else f"{self.known_link}{self.depth}"
        blocks = [f"m{link}{4 * TURN_TOKENS // len(links)}" for link in links]
        if is_first_of_application:
            blocks.insert(0, f"s{self.known_link}{4 * SYSTEM_TOKENS}")
        self.depth += len(links)
        row = {
            "time": self.at,
            "duration": 3.0,
            "first_chunk": 0.8,
            "input_tokens": tokens,
            "output_tokens": 200,
            "read_tokens": read,
            "write_tokens": tokens - read,
            "write_5m_tokens": tokens - read,
            "conversation_id": f"c{self.number}",
            "prefix_breakpoints": json.dumps(["system[0]", f"messages[{self.depth - 2}]"]),
            "prefix_links": f"8Jabcd  {known} {','.join(blocks)} {self.known_link},{links[-1]}",
            "span_id": f"{chance.getrandbits(64):016x}",
            "trace_id": f"{chance.getrandbits(128):032x}",
        }
        self.known_link, self.tokens, self.read_until = links[-1], tokens, self.at + 300
        self.at += chance.choice(PAUSES) + chance.random()
        return row


def make_rows(calls: int, seed: int = 22) -> Iterator[dict[str, Any]]:
    """Yield the calls conversation by conversation."""
    chance = random.Random(seed)
    systems = [make_link(chance) for _ in range(APPLICATIONS)]
    # The first call of an application comes before all others.
    yield from (
        Conversation(-number, link, START - 60).make_row(chance, is_first_of_application=True)
        for number, link in enumerate(systems, 1)
    )
    for number in range((calls - APPLICATIONS) // TURNS):
        start = START + chance.random() * calls * SECONDS_A_CALL
        conversation = Conversation(number, chance.choice(systems), start)
        for _ in range(TURNS):
            yield conversation.make_row(chance, is_first_of_application=False)


def write_table(path: Path, calls: int) -> None:
    """Write the calls in the order of their starts, as an exporter does."""
    constant = {
        "service": "shop",
        "provider": "anthropic",
        "operation": "chat",
        "request_model": "claude-sonnet-5",
        "response_model": "claude-sonnet-5",
        "outcome": "hit",
        "batch": 0,
        "sample_ratio": 1.0,
        "prefix_complete": 1,
    }
    names = [column.name for column in CALLS_TABLE.columns]
    rows = sorted(make_rows(calls), key=lambda row: row["time"])
    with closing(open_or_create_for_writing(path, 10)) as connection, connection:
        connection.execute("BEGIN")
        connection.executemany(
            CALLS_TABLE.insert_or_ignore_statement,
            ([(constant | row).get(name) for name in names] for row in rows),
        )


def list_processes(root: int) -> list[int]:
    """Return a process and its descendants."""
    found = [root]
    for pid in found:
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            found.extend(map(int, children.split()))
    return found


def proportional_bytes(pid: int) -> int:
    """Return the memory of a process, where a page of several processes is shared among them."""
    with suppress(OSError):
        found = re.search(r"^Pss: *(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(found[1]) * 1024 if found else 0
    return 0


def measure(table: Path, policies: Path) -> None:
    """Run the command once, and print its seconds, those of all processors, and its memory."""
    command = [sys.executable, "-m", "promptcache.cli", "whatif", str(table)]
    start, peak = time.perf_counter(), 0
    with subprocess.Popen([*command, "--policy", str(policies)]) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_bytes, list_processes(process.pid))))
            time.sleep(0.2)
    wall = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{wall:.1f} s, {cpu:.1f} s of processors, {peak / 1e6:.0f} MB", flush=True)


def main(counts: list[int]) -> None:
    """Measure each number of calls."""
    for calls in counts:
        with TemporaryDirectory() as name:
            table, policies = Path(name) / "calls.db", Path(name) / "policies.toml"
            write_table(table, calls)
            policies.write_text(POLICIES)
            print(f"{calls:,} calls, {table.stat().st_size / 1e6:.0f} MB", flush=True)
            measure(table, policies)


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]])
