"""A `Prompt` freezes its bytes, and refuses what would not serialise alike each time."""

from __future__ import annotations

import datetime
import enum
import json
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache import Prompt, PromptError
from promptcache.harness.frozen_json import canonical_json, freeze_json
from tests.support.harness_world import CLAUDE, GPT, HANDBOOK, TOOLS, support_prompt


class Colour(enum.StrEnum):
    RED = "red"


def recursive() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"enum": {"a", "b"}}, "tools[0].schema.enum"),
        ({"enum": [frozenset({"a"})]}, "tools[0].schema.enum[0]"),
        ({"since": datetime.datetime(2026, 1, 1)}, "tools[0].schema.since"),
        ({"since": datetime.date(2026, 1, 1)}, "tools[0].schema.since"),
        ({"maximum": float("nan")}, "tools[0].schema.maximum"),
        ({"maximum": float("inf")}, "tools[0].schema.maximum"),
        ({"maximum": Decimal("1.5")}, "tools[0].schema.maximum"),
        ({"default": b"bytes"}, "tools[0].schema.default"),
        ({"default": object()}, "tools[0].schema.default"),
        ({1: "number"}, "tools[0].schema"),
        ({"text": "\ud800"}, "tools[0].schema.text"),
    ],
)
def test_what_has_no_single_text_is_refused_with_its_path(schema: Any, path: str) -> None:
    with pytest.raises(PromptError) as error:
        Prompt("p", tools=[{"name": "t", "schema": schema}])
    assert error.value.path == path
    assert str(error.value).startswith(f"{path}: ")


def test_a_value_that_contains_itself_is_refused() -> None:
    with pytest.raises(PromptError, match="contains itself"):
        Prompt("p", tools=[{"name": "t", "schema": {"loop": recursive()}}])


def test_an_enum_member_serialises_as_its_value() -> None:
    assert canonical_json(freeze_json({"c": Colour.RED}, "x", sort_keys=True)) == '{"c":"red"}'


@pytest.mark.parametrize("name", ["", "a b", "x" * 41, "tab\t", "ü"])
def test_a_name_that_a_cache_key_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(PromptError, match="name"):
        Prompt(name)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(PromptError, match=r"tools\[1\].*'track'"):
        Prompt("p", tools=[TOOLS[0], TOOLS[0]])


def test_tools_and_keys_are_sorted_and_lists_are_not() -> None:
    shuffled = [dict(reversed(tool.items())) for tool in reversed(TOOLS)]
    arguments = Prompt("p", tools=shuffled).chat(wire="anthropic", model=CLAUDE).ask("Hi")
    tools = arguments.get("tools", [])
    assert [tool["name"] for tool in tools] == ["cancel", "refund", "track"]
    assert list(tools[0]["input_schema"]["properties"]) == ["order", "reason"]
    schema: Any = {"type": "object", "required": ["z", "a"], "properties": {"z": {}, "a": {}}}
    one = Prompt("p", tools=[{"name": "t", "schema": schema}])
    tool = one.chat(wire="anthropic", model=CLAUDE).ask("Hi").get("tools", [])[0]
    assert tool["input_schema"]["required"] == ["z", "a"]


def test_sorting_can_be_switched_off() -> None:
    prompt = Prompt("p", tools=[*reversed(TOOLS)], sort_keys=False)
    tools = prompt.chat(wire="anthropic", model=CLAUDE).ask("Hi").get("tools", [])
    assert [tool["name"] for tool in tools] == ["refund", "cancel", "track"]
    assert list(tools[0]["input_schema"]) == ["type", "properties", "required"]


def test_a_nameless_tool_stands_behind_those_with_a_name() -> None:
    tools: list[Any] = [{"type": "web_search"}, {"type": "file_search"}, *TOOLS]
    arguments = Prompt("p", tools=tools).chat(wire="responses", model=GPT).ask("Hi")
    kinds = [tool["type"] for tool in arguments.get("tools", [])]
    assert kinds == ["function", "function", "function", "file_search", "web_search"]


def test_a_later_change_of_the_given_objects_changes_nothing() -> None:
    tools: Any = json.loads(json.dumps(TOOLS))
    prompt = support_prompt(tools=tools)
    before = prompt.chat(wire="chat", model=GPT).ask("Hi")
    tools[0]["description"] = "other"
    assert prompt.chat(wire="chat", model=GPT).ask("Hi") == before


def test_equal_prompts_have_equal_versions_and_other_ones_have_others() -> None:
    assert support_prompt().version == support_prompt(tools=[*reversed(TOOLS)]).version
    assert support_prompt().version != support_prompt(system=HANDBOOK + " ").version
    assert support_prompt().version != support_prompt(examples=[("a", "b")]).version


def test_the_cache_key_has_name_version_and_shard_and_no_text() -> None:
    prompt = Prompt("n" * 40, system="SECRET")
    assert prompt.cache_key == f"{prompt.name}-{prompt.version}"
    assert prompt.shard_key(7) == f"{prompt.cache_key}-7"
    assert len(prompt.shard_key(999)) <= 64
    assert "SECRET" not in prompt.cache_key + repr(prompt)


PROGRAM = """
import json, sys
from promptcache import Prompt
tools = {tools!r}
names = {{tool["name"] for tool in tools}}                  # a set: its order depends on the seed
tools = [next(tool for tool in tools if tool["name"] == name) for name in names]
tools = [{{key: tool[key] for key in set(tool)}} for tool in tools]
prompt = Prompt("p", system="One text: äöü.", tools=tools, params={{"thinking": {{"type": "x"}}}})
for wire, model in (("anthropic", "claude-opus-4-8"), ("chat", "gpt-6"), ("responses", "gpt-6")):
    print(json.dumps(prompt.chat(wire=wire, model=model).ask("Hi", now="now")))
print(prompt.version, prompt.cache_key)
"""


def test_the_bytes_are_the_same_under_other_seeds_locales_and_time_zones() -> None:
    """In processes of their own. `make harness-bytes` tries 1,000 seeds."""
    outputs: set[bytes] = set()
    places = (("C", "UTC"), ("C.UTF-8", "Asia/Tokyo"), ("de_DE.UTF-8", "America/St_Johns"))
    for seed in range(int(os.environ.get("HARNESS_SEEDS", "20"))):
        locale, zone = places[seed % len(places)]
        environ = {**os.environ, "PYTHONHASHSEED": str(seed), "LC_ALL": locale, "TZ": zone}
        program = PROGRAM.format(tools=TOOLS)
        arguments = [sys.executable, "-c", program]
        result = subprocess.run(arguments, capture_output=True, env=environ, check=True)
        outputs.add(result.stdout)
    assert len(outputs) == 1


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_freezing_keeps_every_json_value(value: Any) -> None:
    frozen = freeze_json(value, "x", sort_keys=True)
    assert frozen == value
    assert json.loads(canonical_json(frozen)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON_VALUES, max_size=6))
def test_the_order_of_insertion_leaves_no_trace(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    texts = {canonical_json(freeze_json(one, "x", sort_keys=True)) for one in (value, turned)}
    assert len(texts) == 1
