"""The price file of the user overrides built-in prices, and a broken file leaves them in force."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import openai
import pytest

from promptcache import Settings
from promptcache.model import Cost, Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
from promptcache.prices.user_prices import PriceFileError, load_user_prices

FULL = """\
currency: EUR
rate: 1.25
source: contract 4711
date: 2026-11-01
aliases:
  Our-Deployment: gpt-6-sol
  smart: {model: claude-opus-5-5, provider: anthropic}
models:
  - match: [our-llama, our-llama-*]
    input: 4
    read: 0.4
    write: 5
    output: 16
    above: {1000: {input: 8, output: 24}, 500: {input: 6, write: 7.5}}
  - match: [our-llama, our-llama-*]
    from: 2026-06-01
    input: 2
    output: 8
    source: amendment
  - match: [our-llama, our-llama-*]
    tier: batch
    input: 1
    output: 4
  - match: gpt-4o
    provider: openai
    input: 1
    read: 0.5
    write: {5m: 2, 1h: 3}
    output: 3
    audio: {input: 8, read: 4, output: 16}
    reasoning: 4
    tools: {web_search: 8}
    storage: 0.8
"""
USAGE = Usage(100, 100, 0, 0, {}, 10)


def load_prices(tmp_path: Path, text: str, name: str = "prices.yaml") -> PriceBook:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return PriceBook.load_with_user_prices(str(path))


def compute_cost(
    prices: PriceBook,
    model: str,
    usage: Usage = USAGE,
    provider: str = "openai",
    at: float = 1_795_000_000.0,
    **facts: Any,
) -> Cost:
    request = Request(
        "chat",
        provider,
        "chat",
        facts.pop("request_model", model),
        facts.pop("host", None),
        None,
        False,
        {},
        b"",
        at,
    )
    return prices.compute_cost(request, ResponseFacts(model=model, **facts), usage)


def micro_usd(cost: Cost) -> float | None:
    return None if cost.amount is None else round(cost.amount * 1e6, 6)


def test_prices_of_the_file_apply_by_date_and_tier(tmp_path: Path) -> None:
    prices = load_prices(tmp_path, FULL)
    cost = compute_cost(prices, "our-llama-70b")
    assert (micro_usd(cost), cost.price_date) == ((100 * 2 + 10 * 8) * 1.25, "2026-11-01")
    assert micro_usd(compute_cost(prices, "OUR-LLAMA")) == micro_usd(cost)
    early = 1_770_000_000.0  # February 2026
    assert micro_usd(compute_cost(prices, "our-llama", at=early)) == (100 * 4 + 10 * 16) * 1.25
    assert micro_usd(compute_cost(prices, "our-llama", is_batch=True)) == (100 * 1 + 10 * 4) * 1.25
    assert compute_cost(prices, "our-llama", service_tier="flex").unknown_reason == "tier"
    assert micro_usd(compute_cost(prices, "our-llama", host="eu.api.openai.com")) == micro_usd(
        cost
    ), "a user price has no regional uplift"


def test_prices_of_the_file_apply_by_input_size(tmp_path: Path) -> None:
    prices, early = load_prices(tmp_path, FULL), 1_770_000_000.0
    for tokens, uncached, write, output in ((500, 4, 5, 16), (501, 6, 7.5, 16), (1001, 8, 7.5, 24)):
        usage = Usage(tokens, tokens - 100, 0, 100, {"1h": 100}, 10)
        expected = ((tokens - 100) * uncached + 100 * write + 10 * output) * 1.25
        assert micro_usd(compute_cost(prices, "our-llama", usage, at=early)) == pytest.approx(
            expected
        )


def test_the_file_overrides_the_table_for_its_provider(tmp_path: Path) -> None:
    prices = load_prices(tmp_path, FULL)
    usage = Usage(
        100,
        50,
        20,
        30,
        {"5m": 20, "1h": 10},
        40,
        10,
        modality_tokens={"audio.input": 5, "audio.output": 5},
        server_tool_calls={"web_search": 1},
    )
    parts = 45 * 1 + 5 * 8 + 20 * 0.5 + 20 * 2 + 10 * 3 + 25 * 3 + 5 * 16 + 10 * 4 + 8000
    assert micro_usd(compute_cost(prices, "gpt-4o", usage)) == pytest.approx(parts * 1.25)
    assert (
        micro_usd(compute_cost(prices, "gpt-4o", provider="azure.ai.openai")) == 100 * 2.5 + 10 * 10
    )
    assert prices.compute_storage_cost("gpt-4o", 1_000_000, 3600, 0.0, "openai") == pytest.approx(
        1.0
    )


def test_an_alias_gives_the_price_of_its_model(tmp_path: Path) -> None:
    prices = load_prices(tmp_path, FULL)
    sol_cost = (100 * 2 + 10 * 10) * 1.0
    assert micro_usd(compute_cost(prices, "our-deployment")) == sol_cost
    assert (
        micro_usd(
            compute_cost(
                prices, "whatever", request_model="our-deployment", provider="azure.ai.openai"
            )
        )
        == sol_cost
    )
    assert micro_usd(compute_cost(prices, "smart", provider="my.gateway")) == 100 * 4 + 10 * 20
    assert compute_cost(prices, "unheard-of").unknown_reason == "model"


def test_json_needs_no_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    model = {"match": "m", "input": 1.5, "output": 2e0, "write": {"5m": 1}, "from": "2026-01-01"}
    text = json.dumps({"models": [model], "aliases": {}}, indent=1)
    assert micro_usd(compute_cost(load_prices(tmp_path, text, "p.json"), "m")) == 170
    (tmp_path / "p.yml").write_text("models: []")
    with pytest.raises(PriceFileError, match=r"p\.yml: YAML needs PyYAML .*JSON needs nothing"):
        load_user_prices(str(tmp_path / "p.yml"))


def test_an_empty_list_of_models_changes_nothing(tmp_path: Path) -> None:
    assert micro_usd(compute_cost(load_prices(tmp_path, "{}", "p.json"), "gpt-4o")) == 350
    assert (
        micro_usd(
            compute_cost(load_prices(tmp_path, '{"models": [], "aliases": {}}', "p.json"), "gpt-4o")
        )
        == 350
    )


MODEL = "models:\n  - match: m\n    input: 1\n    "

BROKEN = [
    # text of the file, error with the path of the value, allowed values
    ("- 1", "the file is not a mapping", "a mapping of currency"),
    ("", "the file is not a mapping", "a mapping of currency"),
    ("modles: []", "modles is an unknown key", "currency, rate, source, date, aliases, models"),
    ("models: {}", "models is not a list", "a list"),
    ("models:\n  - 7", "models[0] is not a mapping", "a mapping of match"),
    ("models:\n  - input: 1", "models[0] has no match", "a model's name"),
    ("models:\n  - match: m\n    output: 1", "models[0] has no input or storage", "a price"),
    ("models:\n  - match: m\n    input: -1", "models[0].input is -1", "a number of at least 0"),
    ("models:\n  - match: m\n    input: .nan", "models[0].input is nan", "a number of at least 0"),
    ("models:\n  - match: m\n    input: .inf", "models[0].input is inf", "a number of at least 0"),
    ("models:\n  - match: m\n    input: true", "models[0].input is True", "a number of at least 0"),
    (f"{MODEL}read: cheap", "models[0].read is 'cheap'", "a number of at least 0"),
    (f"{MODEL}read: 1{'0' * 400}", "models[0].read is 1", "a number of at least 0"),
    (f"{MODEL}cached: 1", "models[0].cached is an unknown key", "match, provider, from, tier"),
    (f"{MODEL}tier: turbo", "models[0].tier is 'turbo'", "standard, batch, flex"),
    (f"{MODEL}from: soon", "models[0].from is 'soon'", "a day such as 2026-11-20"),
    (f"{MODEL}from: '2026-13-01'", "models[0].from is '2026-13-01'", "a day such as"),
    (f"{MODEL}from: '20261101'", "models[0].from is '20261101'", "a day such as"),
    (f"{MODEL}write: {{2h: 1}}", "models[0].write.2h is an unknown key", "5m, 30m, 1h, 12h"),
    (f"{MODEL}write: x", "models[0].write is 'x'", "a number of at least 0"),
    (f"{MODEL}audio: 3", "models[0].audio is not a mapping", "a mapping of input, read, output"),
    (f"{MODEL}tools: {{search: x}}", "models[0].tools.search is 'x'", "a number of at least 0"),
    (
        f"{MODEL}above: {{many: {{}}}}",
        "models[0].above.many is an unknown key",
        "a number of input",
    ),
    (f"{MODEL}above: {{\u00b2: {{}}}}", "models[0].above.\u00b2 is an unknown key", "a number of"),
    (
        f"{MODEL}above: {{9: {{audio: 1}}}}",
        "models[0].above.9.audio is an unknown key",
        "input, read",
    ),
    ("models:\n  - match: []\n    input: 1", "models[0].match is empty", "a model's name"),
    (
        "models:\n  - match: ['']\n    input: 1",
        "models[0].match[0] is ''",
        "a text that is not empty",
    ),
    ("models:\n  - match: 7\n    input: 1", "models[0].match is 7", "a text that is not empty"),
    ("currency: EUR\nmodels: []", "rate is missing", "USD for one EUR"),
    ("currency: EUR\nrate: 0", "rate is 0", "a number above 0"),
    ("date: 2026-13-01", "date is '2026-13-01'", "a day such as 2026-11-20"),
    ("aliases:\n  a: 1", "aliases.a is 1", "a text"),
    ('aliases:\n  "arn:aws": 1', 'aliases["arn:aws"] is 1', "a text"),
    ("aliases:\n  a: {provider: openai}", "aliases.a has no model", "a model's name"),
    ("aliases: [a]", "aliases is not a mapping", "a mapping"),
    ("source: a\nsource: b", "source is given twice", "each key once"),
    ("models: [", "not YAML: while parsing", "JSON, or YAML"),
    ("models: !!map [1]", "not YAML: line 1: expected a mapping", "JSON, or YAML"),
    ("models: &a [*a]", "not YAML: line 1: an alias of a value that contains it", "JSON, or YAML"),
    ("\x01", "not YAML", "JSON, or YAML"),
    ("[" * 5000, "not YAML", "JSON, or YAML"),
    ("a: " + "[" * 30 + "]" * 30, "a is an unknown key", "currency, rate"),
]


@pytest.mark.parametrize(("text", "problem", "allowed"), BROKEN)
def test_errors_name_file_path_and_what_is_allowed(
    tmp_path: Path, text: str, problem: str, allowed: str
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PriceFileError) as raised:
        load_user_prices(str(path))
    (message,) = str(raised.value).splitlines()
    assert message.startswith(f"{path}: {problem}")
    assert allowed in message.partition("; allowed: ")[2]


BROKEN_JSON = [
    ("", "not JSON: Expecting value: line 1 column 1"),
    ('{\n"models": nope}', "not JSON: Expecting value: line 2"),
    ('{\n"models" []}', "not JSON: Expecting ':' delimiter: line 2"),
    ('{\n"models": []', "not JSON: Expecting ',' delimiter: line 2"),
    ('{"models": [1\n2]}', "not JSON: Expecting ',' delimiter: line 2"),
    ("{models: []}", "not JSON: Expecting property name enclosed in double quotes: line 1"),
    ('{"a": "x\n"}', "not JSON: Invalid control character at: line 1"),
    ("{} \n{}", "not JSON: Extra data: line 2"),
    ("[" * 100_000, "not JSON: "),
    ("9" * 5000, "not JSON: Exceeds the limit"),
    ('{"rate": 1,\n"rate": 2}', "rate is given twice"),
    (
        '{"models": [{"match": "m", "input": 1}, {"match": "m",\n "input": "1"}]}',
        "models[1].input is '1'",
    ),
    ('{"models": [{"match": "m", "input": NaN}]}', "models[0].input is nan"),
]


@pytest.mark.parametrize(("text", "problem"), BROKEN_JSON)
def test_errors_in_json_name_path_or_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PriceFileError) as raised:
        load_user_prices(str(path))
    assert str(raised.value).startswith(f"{path}: {problem}")


def test_every_error_is_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("rate: 0\nmodels:\n  - input: x\n  - match: m\n", encoding="utf-8")
    with pytest.raises(PriceFileError) as raised:
        load_user_prices(str(path))
    assert [
        line.removeprefix(f"{path}: ").split(";")[0] for line in str(raised.value).splitlines()
    ] == [
        "rate is 0",
        "models[0].input is 'x'",
        "models[0] has no match",
        "models[1] has no input or storage",
    ]


def test_a_large_json_file_is_read_in_linear_time(tmp_path: Path) -> None:
    """An earlier reader took quadratic time: 37 s for 1 MB."""
    path = tmp_path / "prices.json"
    model: dict[str, Any] = {
        "input": 3.0,
        "read": 0.3,
        "write": {"5m": 3.75, "1h": 6.0},
        "output": 15,
    }
    models = [{"match": f"our-model-{number}"} | model for number in range(10_000)]
    bands = {str(start): {"input": 6.0} for start in range(10_000)}
    models.append({"match": "banded", "input": 3.0, "above": bands})
    path.write_text(json.dumps({"models": models}, indent=1))
    assert path.stat().st_size > 1_000_000
    started = process_time()
    prices = load_user_prices(str(path))
    assert process_time() - started < 3, "a quarter of a second on a quiet machine"
    assert prices.has_alias_or_row("openai", "our-model-9999")


def alias_bomb(levels: int = 9, width: int = 9) -> str:
    """Return YAML in which each list holds the list before it several times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels + 1):
        items = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{items}]")
    return "\n".join([*lines, f"models: *a{levels}"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (alias_bomb(), "its aliases repeat more than"),
        ("models: &a [*a]\n", "line 1: an alias of a value that contains it"),
        ("models: &a\n  - match: m\n    tools: *a\n", "an alias of a value that contains it"),
    ],
)
def test_a_bomb_of_aliases_is_refused_in_little_memory(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(PriceFileError, match=re.escape(problem)):
            load_user_prices(str(path))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_an_alias_of_yaml_repeats_its_value(tmp_path: Path) -> None:
    text = "models:\n  - match: a\n    input: &p 5\n  - match: b\n    input: *p\n"
    prices = load_prices(tmp_path, text)
    assert micro_usd(compute_cost(prices, "b")) == micro_usd(compute_cost(prices, "a"))


def test_many_errors_are_cut_to_a_readable_number(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"models": ["x"] * 10_000}))
    with pytest.raises(PriceFileError) as raised:
        load_user_prices(str(path))
    lines = str(raised.value).splitlines()
    assert len(lines) == 51
    assert lines[-1] == f"{path}: there are more errors"


def test_a_file_that_is_too_large_or_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    with path.open("wb") as file:
        file.truncate(33 << 20)
    for name in (str(path), os.devnull):
        with pytest.raises(PriceFileError, match="regular file of at most 32 MB"):
            load_user_prices(name)


def test_the_price_file_is_read_at_start_and_not_by_the_first_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, instrumented: Callable[..., Any]
) -> None:
    path = tmp_path / "prices.json"
    path.write_text("{")
    assert openai.__name__ in sys.modules  # the start is the import of the first SDK
    with caplog.at_level(logging.WARNING):
        instrumented(Settings(prices=str(path)))
    assert "The price file is not used" in caplog.text


def test_a_broken_file_is_logged_once_and_built_in_prices_apply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        prices = load_prices(tmp_path, "models:\n  - match: gpt-4o\n    input: free\n")
        assert [micro_usd(compute_cost(prices, "gpt-4o")) for _ in range(3)] == [350, 350, 350]
    assert len(caplog.records) == 1
    assert "prices.yaml: models[0].input is 'free'; allowed: a number of at least 0" in caplog.text


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_file_is_logged_and_built_in_prices_apply(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "prices.yaml"
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert micro_usd(compute_cost(PriceBook.load_with_user_prices(str(path)), "gpt-4o")) == 350
    assert "cannot be read" in caplog.text


def test_without_a_file_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert (
        micro_usd(compute_cost(PriceBook.load_with_user_prices(None), "gpt-4o"))
        == micro_usd(compute_cost(PriceBook.load_with_user_prices(""), "gpt-4o"))
        == 350
    )
    assert not caplog.records
