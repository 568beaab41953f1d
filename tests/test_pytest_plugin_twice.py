"""`--promptcache-twice`: a second run in other surroundings must send the same tools and system."""

from __future__ import annotations

import json
import os
import sys
import time
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcache.model import Block, ParsedPrompt
from promptcache_testing.second_run import second_process
from promptcache_testing.second_run.prefix_comparison import (
    PrefixComparer,
    PrefixComparison,
    name_value_at,
)
from promptcache_testing.second_run.results import SecondRunResults, SecondTestResult
from promptcache_testing.second_run.second_process import with_options
from promptcache_testing.second_run.static_prefix import PrefixDigester
from promptcache_testing.second_run.surroundings import changed_variables, make_other_folder
from tests.support.plugin_runs import LIGHT_AGENT, Suite

pytest_plugins = ["pytester"]

RULES: Final = "You are the support agent of a web shop. "


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


# Real processes

VOLATILE: Final = """
import copy, datetime, locale, os, random, time, uuid
from pathlib import Path
import pytest
from agent import Agent, HANDBOOK, TOOLS

def run(handbook=HANDBOOK, tools=TOOLS, **options):
    agent = Agent(handbook, tools, **options)
    agent.run(f"It is {time.time()}.")
    agent.run("two")

def with_description(text):
    tools = copy.deepcopy(TOOLS)
    tools[3]["function"]["description"] = text
    return tools

def test_stable(prompt_cache): run()
def test_stable_relative_path(prompt_cache): run(Path("agent.py").read_text())
def test_stable_key(prompt_cache): run(prompt_cache_key=str(uuid.uuid4()))
def test_stable_order_of_agents(prompt_cache):
    roles = [HANDBOOK + "Your role: a writer.", HANDBOOK + "Your role: an editor."]
    random.shuffle(roles)
    for role in roles: run(role)
def test_date(prompt_cache): run(HANDBOOK + f"Today is {datetime.date.today()}.")
def test_hour(prompt_cache): run(f"It is {datetime.datetime.now():%H} o'clock. " + HANDBOOK)
def test_uuid(prompt_cache): run(HANDBOOK + f"Session {uuid.uuid4()}.")
def test_random(prompt_cache): run(HANDBOOK + f"Number {random.randrange(10 ** 12)}.")
def test_folder(prompt_cache): run(HANDBOOK + f"You work in {os.getcwd()}.")
def test_zone(prompt_cache): run(HANDBOOK + f"Your zone is {time.strftime('%z')}.")
def test_locale(prompt_cache): run(HANDBOOK + f"Your language is {os.environ['LC_ALL']}.")
def test_hash_seed(prompt_cache):
    run(tools=sorted(TOOLS, key=lambda tool: hash(tool["function"]["name"])))
def test_tool(prompt_cache): run(tools=with_description(f"As of {datetime.date.today()}"))
def test_format(prompt_cache):
    names = sorted(["a", "b", "c", "d", "e", "f"], key=hash)
    run(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {
        "type": "object", "properties": {name: {"type": "string"} for name in names}}}})
def test_fails_there(prompt_cache):
    run()
    assert "second" not in os.path.basename(os.getcwd()), "canary"
def test_without_the_fixture():
    assert "second" not in os.path.basename(os.getcwd())
"""
PLACES: Final = {
    "test_date": "volatile_token: `system*` (byte 10*, looks like a `date`)",
    "test_hour": "volatile_token: `system*` (byte *",
    "test_uuid": "volatile_token: `system*` (byte 10*, looks like a `uuid`)",
    "test_random": "volatile_token: `system*` (byte 10*, looks like a `*`)",
    "test_folder": "volatile_token: `system*` (byte 10*",
    "test_zone": "volatile_token: `system*` (byte 10*",
    "test_locale": "volatile_token: `system*` (byte 10*",
    "test_hash_seed": "tools_reordered: `tools*` (the same tools in another order)",
    "test_tool": "volatile_token: `tools*3*` (`description`, byte *, looks like a `date`)",
    "test_format": "param_changed: response_format",
    "test_fails_there": "*is inconclusive: it failed: AssertionError at test_suite.py:* (call)",
}


@pytest.fixture
def known_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the first process a known hash seed and locale, and the import paths of this one."""
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(path) for path in sys.path))


def failed_tests(result: pytest.RunResult) -> set[str]:
    lines = (line for line in result.outlines if line.startswith("FAILED"))
    return {line.split("::")[1].split()[0] for line in lines}


@pytest.mark.usefixtures("known_surroundings")
def test_whatever_depends_on_the_surroundings_fails_with_its_place(suite: Suite) -> None:
    result = suite.run_process(VOLATILE, "--promptcache-twice", "--promptcache-json=out.json")
    assert failed_tests(result) == set(PLACES)
    result.assert_outcomes(failed=len(PLACES), passed=5)
    for place in PLACES.values():
        result.stdout.fnmatch_lines([f"*{place}"])
    result.stdout.fnmatch_lines(["promptcache: the second run of the tests took * s"])
    listed = (suite.path / "out.json").read_text()
    by_name = {one["nodeid"].rpartition("::")[2]: one for one in json.loads(listed)["tests"]}
    assert by_name["test_date"]["calls"][0]["second_run_places"]
    assert by_name["test_hour"]["volatile_bytes"] > 10_000
    assert not by_name["test_stable"]["volatile_bytes"]
    assert "canary" not in listed


@pytest.mark.usefixtures("known_surroundings")
def test_under_xdist_the_controller_runs_it_once(suite: Suite) -> None:
    options = ("--promptcache-twice", "-n", "1", "-k", "stable or date or fails_there")
    result = suite.run_process(VOLATILE, *options)
    assert failed_tests(result) == {"test_date", "test_fails_there"}
    result.assert_outcomes(failed=2, passed=4)
    assert result.stdout.str().count("the second run of the tests took") == 1


def test_a_second_process_that_ends_early_is_inconclusive(suite: Suite) -> None:
    suite.pytester.makepyfile(agent=LIGHT_AGENT)
    code = """
        import time
        from agent import Agent
        if time.time() > {limit}:
            raise SystemExit("no")
        def test_it(prompt_cache):
            agent = Agent(); agent.run("one"); agent.run("two")
        def test_plain(): pass
    """
    result = suite.run(code.format(limit=time.time() + 86_400), "--promptcache-twice")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*the comparison with the second run is inconclusive: *"])


def test_without_tests_of_the_fixture_no_process_starts(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    suite.run("def test_it(): pass", "--promptcache-twice").assert_outcomes(passed=1)


def test_without_time_machine_the_package_is_named(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(name: str) -> None:
        assert name == "time_machine"

    monkeypatch.setattr(second_process, "find_spec", find_nothing)
    result = suite.run("def test_it(): pass", "--promptcache-twice")
    assert "pip install 'promptcache[pytest]'" in result.stderr.str()


# What the processes compare

KEY: Final = b"k" * 32


class Sides:
    """Two processes with one key."""

    def __init__(self) -> None:
        self.here, self.there = PrefixDigester(KEY), PrefixDigester(KEY)

    def compare(
        self, here: Sequence[ParsedPrompt], there: Sequence[ParsedPrompt]
    ) -> PrefixComparison:
        own, others = (
            [side.digest_prompt(one, "m", number, None, None) for number, one in enumerate(all_, 1)]
            for side, all_ in ((self.here, here), (self.there, there))
        )
        texts = {name: self.there.digest_text(text) for name, text in self.there.texts.items()}
        return PrefixComparer(self.here, texts).compare(own, others)


def prompt(system: str, *tools: str) -> ParsedPrompt:
    blocks = [Block("tools", index, "function", {"name": one}) for index, one in enumerate(tools)]
    return ParsedPrompt((*blocks, Block("system", 0, "text", system)))


@settings(max_examples=30)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_the_offset_is_the_first_byte_that_differs(start: str, here: str, there: str) -> None:
    sides = Sides()
    other = sides.there.digest_text(start + there)
    one, two = (text.encode("utf-8", "surrogatepass") for text in (start + here, start + there))
    expected = sum(1 for _ in takewhile(bool, map(eq, one, two)))
    assert sides.here.common_size(start + here, other) == expected


def test_agents_that_only_one_side_has_are_no_versions_of_each_other() -> None:
    writer = prompt("You write novels about the sea and its ships, and nothing else. " * 9)
    editor = prompt("Check spelling, grammar; return corrected text to whoever asked. " * 9)
    found = Sides().compare([writer], [editor])
    assert found == PrefixComparison((), (1,))


def test_the_most_similar_prefix_is_compared() -> None:
    here = [prompt(RULES * 9 + "Now: 2026-11-28", "find"), prompt(RULES * 9 + "Be kind.", "sell")]
    there = [here[1], prompt(RULES * 9 + "Now: 2026-12-30", "find")]
    (difference,) = Sides().compare(here, there).differences
    assert difference.prefix.call == 1
    assert difference.verdict.offset == len(RULES * 9 + "Now: 2026-1")
    assert difference.verdict.hint == "date"
    assert difference.volatile_bytes == len("1-28")


def test_a_tool_that_only_one_side_has_is_named() -> None:
    (difference,) = Sides().compare([prompt(RULES, "a", "b")], [prompt(RULES, "a")]).differences
    assert (difference.verdict.reason, difference.verdict.index) == ("tools_changed", 1)
    assert difference.verdict.hint == "added"


@pytest.mark.parametrize(
    ("text", "place", "kind"),
    [
        ("Id 0b06a4a2-9c2f-4f0e-8a42-8b1e1d0c3f55.", 14, "uuid"),
        ("It is 10:45 now.", 8, "timestamp"),
        ("You work in /home.", 13, None),
    ],
)
def test_the_value_at_a_place_is_recognised(text: str, place: int, kind: str | None) -> None:
    assert name_value_at(text, place) == kind


def test_no_text_is_in_the_results(tmp_path: Path) -> None:
    digester = PrefixDigester(KEY)
    prefix = digester.digest_prompt(prompt("canary system", "canary_tool"), "m", 1, "a.py", 2)
    texts = {name: digester.digest_text(text) for name, text in digester.texts.items()}
    results = SecondRunResults({"t": SecondTestResult(None, [prefix])}, texts)
    results.write(path := tmp_path / "results.json")
    assert SecondRunResults.read(path) == results
    raw = path.read_bytes()
    decoded = b"".join(
        b64decode(part) for pair in json.loads(raw)["texts"].values() for part in pair
    )
    assert b"canary" not in raw + decoded
    assert sha256(b"canary system").hexdigest().encode() not in raw


# The surroundings


def test_every_variable_of_the_second_process_differs() -> None:
    for language in ("C", "C.UTF-8", "de_DE.UTF-8"):
        environ = {"PYTHONHASHSEED": "7", "LC_ALL": language}
        changed = changed_variables(environ)
        assert changed["PYTHONHASHSEED"] == "8"
        assert changed["LC_ALL"] != language
        here = datetime.now().astimezone().utcoffset()
        assert datetime.now(ZoneInfo(changed["TZ"])).utcoffset() != here


def test_the_other_folder_has_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "prompts").mkdir(parents=True)
    (tmp_path / "work" / "prompts" / "a.txt").write_text("text")
    monkeypatch.chdir(tmp_path / "work")
    folder = make_other_folder(tmp_path)
    assert folder.resolve() != Path.cwd()
    assert (folder / "prompts" / "a.txt").read_text() == "text"


def test_options_come_before_the_end_of_options() -> None:
    assert with_options(["-x", "--", "a.py"], ["--no-cov"]) == ["-x", "--no-cov", "--", "a.py"]
    assert with_options(["a.py"], ["--no-cov"]) == ["a.py", "--no-cov"]
