"""Predict twelve policies from one recording, run each of them, and compare the costs.

    make whatif-score
    python -m tests.oracle.whatif_score --seeds 2

For each way to call the API and each seed, some conversations with random pauses are recorded under
one policy on the emulator. `promptcache whatif`'s replay predicts their cost under twelve policies.
Then the same conversations run under each policy, and their recorded cost is the truth. The replay
shares no code with the emulator. Exits with 1 if a prediction is off by more than 0.5 %.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import anthropic
from opentelemetry.sdk.trace import TracerProvider

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.prices import PriceBook
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from promptcache_exporters.database.source import find_calls_source
from promptcache_exporters.recording.table_writer import RecordingProcessor, TableWriter
from promptcache_exporters.replay.comparison import check_replay
from promptcache_exporters.replay.policy import Marks, Policy
from promptcache_exporters.replay.replay import replay
from promptcache_exporters.replay.table import load_recorded_calls
from promptcache_exporters.replay.traffic import Traffic
from tests.support.recorded_traffic import HANDBOOK

MAX_ERROR: Final = 0.005
PAUSES: Final = (5, 60, 200, 310, 700, 2000, 4000)
CONVERSATIONS: Final = 3
TURNS: Final = 5
LAYERS: Final = ("tools", "system", "messages")
TTL_LADDERS: Final = (
    ("5m", "5m", "5m"),
    ("1h", "5m", "5m"),
    ("1h", "1h", "5m"),
    ("1h", "1h", "1h"),
)
"""The TTLs by layer that a provider accepts: a longer one never follows a shorter one."""
MARKS: Final[tuple[Marks, ...]] = ("recorded", "tail", "static,tail")
KEY: Final = b"the key of the score of what-if"


@dataclass(frozen=True)
class Variant:
    """One way to call the API."""

    method: str = "create"
    tools: int = 0
    model: str = "claude-sonnet-5"
    has_string_content: bool = False

    def __str__(self) -> str:
        content = "text" if self.has_string_content else "blocks"
        return f"{self.method}, {self.tools} tools, {self.model}, {content}"


VARIANTS: Final = (
    Variant(),
    Variant(tools=3),
    Variant("stream"),
    Variant("stream", tools=3),
    Variant("beta.create"),
    Variant("beta.create", tools=3),
    Variant(model="claude-haiku-4-5", tools=2),
    Variant("stream", model="claude-haiku-4-5", tools=1),
    Variant(has_string_content=True),
    Variant("stream", tools=2, has_string_content=True),
)


@dataclass(frozen=True)
class Scheme:
    """TTLs by layer, and where breakpoints stand: at each layer's end, or as `marks` says."""

    ladder: tuple[str, str, str]
    marks: Marks

    def mark(self, layer: str) -> dict[str, Any]:
        """Return the field of a block at the end of a layer, empty if no mark stands there."""
        is_marked = layer == "messages" or self.marks == "recorded"
        if layer == "system" and self.marks == "static,tail":
            is_marked = True
        ttl = self.ladder[LAYERS.index(layer)]
        return {"cache_control": {"type": "ephemeral", "ttl": ttl}} if is_marked else {}

    def policy(self) -> Policy:
        """Return the policy of the replay that means the same."""
        return Policy(ttls=dict(zip(LAYERS, self.ladder, strict=True)), marks=self.marks)


SCHEMES: Final = tuple(Scheme(ladder, marks) for marks in MARKS for ladder in TTL_LADDERS)


def make_request(
    variant: Variant, scheme: Scheme, history: list[Any], question: str
) -> dict[str, Any]:
    """Return the arguments of one call."""
    tools: list[dict[str, Any]] = [
        {
            "name": f"tool_{number}",
            "description": HANDBOOK[: 900 + number],
            "input_schema": {"type": "object"},
        }
        for number in range(variant.tools)
    ]
    if tools:
        tools[-1] |= scheme.mark("tools")
    text = {"type": "text", "text": question}
    return {
        "model": variant.model,
        "max_tokens": 50,
        **({"tools": tools} if tools else {}),
        "system": [{"type": "text", "text": HANDBOOK, **scheme.mark("system")}],
        "messages": [*history, {"role": "user", "content": [text | scheme.mark("messages")]}],
    }


def call(client: anthropic.Anthropic, variant: Variant, request: dict[str, Any]) -> str:
    """Send the request, and return the text of the answer."""
    if variant.method == "stream":
        with client.messages.stream(**request) as stream:
            return stream.get_final_text()
    messages: Any = client.beta.messages if variant.method == "beta.create" else client.messages
    return str(messages.create(**request).content[0].text)


def converse(url: str, variant: Variant, scheme: Scheme, seed: int, clock: Clock) -> None:
    """Hold the conversations of a seed. Their turns alternate, with random pauses."""
    chance = random.Random(f"{seed} {variant}")
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        histories: list[list[Any]] = [[] for _ in range(CONVERSATIONS)]
        for turn in range(TURNS * CONVERSATIONS):
            number = chance.randrange(CONVERSATIONS)
            question = f"Conversation {number}, question {turn}: " + "why? " * chance.randrange(400)
            request = make_request(variant, scheme, histories[number], question)
            answer = call(client, variant, request)
            content: Any = [{"type": "text", "text": question}]
            histories[number] += [
                {"role": "user", "content": question if variant.has_string_content else content},
                {"role": "assistant", "content": answer},
            ]
            clock.advance(chance.choice(PAUSES))


def record(
    emulator: Emulator, url: str, path: Path, variant: Variant, scheme: Scheme, seed: int
) -> Traffic:
    """Run the conversations under `scheme`, and return what the table has of them."""
    emulator.reset()
    writer, provider, clock = TableWriter(path), TracerProvider(), cast("Clock", emulator.clock)
    provider.add_span_processor(RecordingProcessor(lambda: [writer], lambda: None))
    PromptCacheInstrumentor().instrument(
        tracer_provider=provider, settings=Settings(), clock=clock, recording_key=KEY
    )
    try:
        converse(url, variant, scheme, seed, clock)
    finally:
        PromptCacheInstrumentor().uninstrument()
        writer.shutdown()
    loaded = load_recorded_calls(
        find_calls_source(path), 0.0, PriceBook.load_with_user_prices(None)
    )
    if loaded.skipped:
        raise SystemExit(f"{variant}: {dict(loaded.skipped)}")
    return loaded.traffic


def score(
    emulator: Emulator, url: str, folder: Path, variant: Variant, seed: int
) -> Iterator[float]:
    """Yield the error of each prediction, as a share of the true cost."""
    recorded = record(emulator, url, folder / f"{seed}-a.db", variant, SCHEMES[0], seed)
    check = check_replay(recorded, replay(recorded, Policy()))
    if not check.has_passed:
        raise SystemExit(f"{variant}, seed {seed}: the record is not reproduced: {check}")
    for number, scheme in enumerate(SCHEMES):
        path = folder / f"{seed}-{number}.db"
        actual = record(emulator, url, path, variant, scheme, seed)
        truth = check_replay(actual, replay(actual, Policy())).recorded_usd
        predicted = replay(recorded, scheme.policy()).usd
        yield predicted / truth - 1


def main() -> None:
    """Print the largest error of each variant."""
    parser = argparse.ArgumentParser(description="Score the predictions of what-if.")
    parser.add_argument("--seeds", type=int, default=50)
    seeds = parser.parse_args().seeds
    emulator, worst = Emulator(), 0.0
    with running_server(emulator) as url, tempfile.TemporaryDirectory() as name:
        for number, variant in enumerate(VARIANTS):
            folder = Path(name) / str(number)
            folder.mkdir()
            errors = [
                error
                for seed in range(seeds)
                for error in score(emulator, url, folder, variant, seed)
            ]
            largest = max(map(abs, errors))
            worst = max(worst, largest)
            print(f"{variant}: {len(errors)} predictions, largest error {largest:.3%}", flush=True)
    sys.exit(worst > MAX_ERROR)


if __name__ == "__main__":
    main()
