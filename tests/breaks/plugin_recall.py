"""Do the checks of the pytest plugin find the labelled breaks, and are they silent otherwise?

`turns` plays a conversation in one process. `twice` plays it in two: an agent whose static prefix
depends on its surroundings sends the requests without the break in one process, and those with it
in the other one, which really has another clock, hash seed, zone, locale and folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from promptcache.model import ParsedPrompt, Request
from promptcache.providers.response_facts import NO_FACTS
from promptcache_testing.llm_request import LLMRequest
from promptcache_testing.second_run.prefix_comparison import PrefixComparer, PrefixComparison
from promptcache_testing.second_run.results import SecondRunResults, SecondTestResult
from promptcache_testing.second_run.static_prefix import PrefixDigester, StaticPrefix
from promptcache_testing.second_run.surroundings import (
    change_surroundings,
    changed_variables,
    make_other_folder,
)
from promptcache_testing.turns import BREAKS, TurnsCheck
from tests.breaks.apis import APIS, Api
from tests.breaks.more_mutators import mutators
from tests.breaks.mutators import Label, Step

STABLE: Final = sorted(name for name in mutators() if name.startswith("="))
KNOWN_GAP: Final = "first image"
"""Not found where an API counts images as a parameter."""
_RULES_ONLY: Final = {
    # The bytes stay the same, or only the markers move: the check of rules sees these.
    "breakpoint removed",
    "breakpoint moved",
    "static prefix unmarked",
    "lookback",
    "below minimum",
    "TTL lapse",
    "concurrent race",
}
BROKEN: Final = sorted(set(mutators()) - set(STABLE) - _RULES_ONLY - {KNOWN_GAP})
_KEY: Final = b"k" * 32


@dataclass(frozen=True)
class Conversation:
    """One conversation of the exam."""

    name: str
    api: Api
    seed: int

    @property
    def id(self) -> str:
        return f"{self.name} / {self.api.name} / {self.seed}"

    def steps(self) -> list[Step]:
        rng = random.Random(zlib.crc32(f"{self.name} {self.api.name} {self.seed}".encode()))
        return list(mutators()[self.name](rng, self.api))

    def parse_prompt(self, step: Step, *, without_break: bool = False) -> ParsedPrompt:
        prompt = self.parse(step, without_break=without_break).prompt
        assert prompt is not None
        return prompt

    def parse(self, step: Step, *, without_break: bool = False) -> LLMRequest:
        state = step.twin if without_break and step.twin is not None else step.state
        request = Request(
            wire_format_name=self.api.wire.name,
            provider=self.api.provider,
            operation=self.api.wire.operation,
            model=self.api.models[state.model],
            host="host",
            port=443,
            stream=False,
            body=json.loads(json.dumps(self.api.body(state))),
            cache_scope=step.key.encode(),
            started_at=0.0,
        )
        return LLMRequest(self.api.wire, request, self.api.wire.parse_prompt(request))


def conversations(
    names: Sequence[str], seeds: Sequence[int], apis: Sequence[Api] = APIS
) -> list[Conversation]:
    return [Conversation(name, api, seed) for name in names for api in apis for seed in seeds]


# Turns


def find_breaks(played: Conversation) -> tuple[int, int, set[str]]:
    """Return how many labelled breaks were found, how many at their block, and all reasons."""
    check, reasons = TurnsCheck(), set[str]()
    labelled = exact = 0
    for step in played.steps():
        verdict = check.check_call(played.parse(step), NO_FACTS).verdict
        if verdict.reason in BREAKS:
            reasons.add(verdict.reason)
            if step.label is not None and step.label.reason in BREAKS:
                place = (verdict.section, verdict.index)
                labelled += 1
                exact += place == (step.label.section, step.label.index)
    return labelled, exact, reasons


# Twice


def static_break(played: Conversation) -> Step | None:
    """Return the first request with a break of the static prefix, which twice is to see."""
    for step in played.steps():
        label = step.label
        if label is None or step.twin is None:
            continue
        if label.section in ("tools", "system") or label.reason == "model_changed":
            return step
        if label.reason == "param_changed" and changes_static_param(played, step):
            return step
    return None


def changes_static_param(played: Conversation, step: Step) -> bool:
    """Return whether a parameter changed that invalidates more than the messages."""
    with_break, without = (
        {(one.name, repr(one.value), one.invalidation_level) for one in prompt.params}
        for prompt in (played.parse_prompt(step), played.parse_prompt(step, without_break=True))
    )
    return any(level in ("tools", "system") for _, _, level in with_break ^ without)


def digest_conversation(
    digester: PrefixDigester, played: Conversation, *, is_second: bool
) -> list[StaticPrefix]:
    """Return the distinct static prefixes of a conversation in one of the two processes."""
    step = None if played.name in STABLE else static_break(played)
    found: dict[object, StaticPrefix] = {}
    for number, one in enumerate([step] if step else played.steps(), 1):
        call = played.parse(one, without_break=not is_second)
        assert call.prompt is not None
        prefix = digester.digest_prompt(call.prompt, call.request.model, number, None, None)
        found.setdefault(prefix.identity, prefix)
    return list(found.values())


def compare_twice(
    played: Sequence[Conversation],
) -> Iterator[tuple[Conversation, PrefixComparison]]:
    """Yield what differs in each conversation between this process and another one."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        keys = [[one.name, one.api.name, one.seed] for one in played]
        (folder / "conversations.json").write_text(json.dumps(keys))
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        subprocess.run(
            [sys.executable, "-m", "tests.breaks.plugin_recall", "--second", name],
            check=True,
            env=os.environ | changed_variables(os.environ) | {"PYTHONPATH": paths},
        )
        second = SecondRunResults.read(folder / "results.json")
    digester = PrefixDigester(_KEY)
    comparer = PrefixComparer(digester, second.texts)
    for one in played:
        here = digest_conversation(digester, one, is_second=False)
        yield one, comparer.compare(here, second.tests[one.id].prefixes)


def write_second_results(folder: Path) -> None:
    """Play the conversations in this process, which is the second one, in another order."""
    keys = json.loads((folder / "conversations.json").read_text())
    change_surroundings(str(make_other_folder(folder)), seed=7)
    apis = {one.name: one for one in APIS}
    digester, results = PrefixDigester(_KEY), SecondRunResults()
    for name, api, seed in keys:
        one = Conversation(name, apis[api], seed)
        prefixes = digest_conversation(digester, one, is_second=True)
        results.tests[one.id] = SecondTestResult(None, prefixes[::-1])
    results.texts = {name: digester.digest_text(text) for name, text in digester.texts.items()}
    results.write(folder / "results.json")


def is_exact(comparison: PrefixComparison, label: Label | None) -> bool:
    """Return whether the only place that differs is the labelled one."""
    assert label is not None
    places = {(one.verdict.section, one.verdict.index) for one in comparison.differences}
    is_block = label.section in ("tools", "system")
    return places == {(label.section, label.index) if is_block else (None, None)}


# All of them


def score_turns(seeds: Sequence[int]) -> Counter[str]:
    counts = Counter[str]()
    for one in conversations([*BROKEN, KNOWN_GAP, *STABLE], seeds):
        is_broken = any(step.label and step.label.reason in BREAKS for step in one.steps())
        labelled, exact, reasons = find_breaks(one)
        kind = "broken" if is_broken else "stable"
        counts[f"turns: {kind}"] += 1
        counts[f"turns: {kind}, found"] += bool(reasons)
        counts["turns: broken calls found"] += labelled
        counts["turns: broken calls found at the exact block"] += exact
        counts[f"turns: wrong: {one.name} / {one.api.name}"] += bool(reasons) != is_broken
    return counts


def score_twice(seeds: Sequence[int]) -> Counter[str]:
    counts = Counter[str]()
    broken = [one for one in conversations(BROKEN, seeds) if static_break(one)]
    for one, comparison in compare_twice([*broken, *conversations(STABLE, seeds)]):
        step = None if one.name in STABLE else static_break(one)
        kind = "broken" if step else "stable"
        is_found = bool(comparison.differences or comparison.unmatched_calls)
        counts[f"twice: {kind}"] += 1
        counts[f"twice: {kind}, found"] += is_found
        if step:
            counts["twice: broken, found at the exact block"] += is_exact(comparison, step.label)
        counts[f"twice: wrong: {one.name} / {one.api.name}"] += is_found != bool(step)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--second", type=Path)
    options = parser.parse_args()
    if options.second:
        write_second_results(options.second)
        return
    seeds = range(options.seeds)
    for name, count in (score_turns(seeds) + score_twice(seeds)).items():
        print(f"{count:7,}  {name}")


if __name__ == "__main__":
    main()
