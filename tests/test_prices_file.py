"""The user's price file: what it may say, and that a broken one never does harm."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

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
U = Usage(100, 100, 0, 0, {}, 10)


def book(tmp_path: Path, text: str, name: str = "prices.yaml") -> PriceBook:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return PriceBook.load(str(path))


def cost(
    prices: PriceBook,
    model: str,
    usage: Usage = U,
    provider: str = "openai",
    at: float = 1_795_000_000.0,
    **facts: Any,
) -> Cost:
    request = Request(
        "chat",
        provider,
        "chat",
        facts.pop("asked", model),
        facts.pop("host", None),
        None,
        False,
        {},
        b"",
        at,
    )
    return prices.compute_cost(request, ResponseFacts(model=model, **facts), usage)


def usd(found: Cost) -> float | None:
    return None if found.amount is None else round(found.amount * 1e6, 6)


def test_prices_of_the_file(tmp_path: Path) -> None:
    prices = book(tmp_path, FULL)
    found = cost(prices, "our-llama-70b")
    assert (usd(found), found.price_date) == ((100 * 2 + 10 * 8) * 1.25, "2026-11-01")
    assert usd(cost(prices, "OUR-LLAMA")) == usd(found)
    early = 1_770_000_000.0  # February 2026
    assert usd(cost(prices, "our-llama", at=early)) == (100 * 4 + 10 * 16) * 1.25
    assert usd(cost(prices, "our-llama", is_batch=True)) == (100 * 1 + 10 * 4) * 1.25
    assert cost(prices, "our-llama", service_tier="flex").unknown_reason == "tier"
    assert usd(cost(prices, "our-llama", host="eu.api.openai.com")) == usd(found), (
        "a price of the user's is final"
    )


def test_bands_of_the_file(tmp_path: Path) -> None:
    prices, early = book(tmp_path, FULL), 1_770_000_000.0
    for tokens, fresh, write, output in ((500, 4, 5, 16), (501, 6, 7.5, 16), (1001, 8, 7.5, 24)):
        usage = Usage(tokens, tokens - 100, 0, 100, {"1h": 100}, 10)
        expected = ((tokens - 100) * fresh + 100 * write + 10 * output) * 1.25
        assert usd(cost(prices, "our-llama", usage, at=early)) == pytest.approx(expected)


def test_the_file_wins_over_the_table_for_its_provider(tmp_path: Path) -> None:
    prices = book(tmp_path, FULL)
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
    assert usd(cost(prices, "gpt-4o", usage)) == pytest.approx(parts * 1.25)
    assert usd(cost(prices, "gpt-4o", provider="azure.ai.openai")) == 100 * 2.5 + 10 * 10
    assert prices.storage_cost("gpt-4o", 1_000_000, 3600, 0.0, "openai") == pytest.approx(1.0)


def test_aliases(tmp_path: Path) -> None:
    prices = book(tmp_path, FULL)
    sol = (100 * 2 + 10 * 10) * 1.0
    assert usd(cost(prices, "our-deployment")) == sol
    assert usd(cost(prices, "whatever", asked="our-deployment", provider="azure.ai.openai")) == sol
    assert usd(cost(prices, "smart", provider="my.gateway")) == 100 * 4 + 10 * 20
    assert cost(prices, "unheard-of").unknown_reason == "model"


def test_json_needs_no_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    model = {"match": "m", "input": 1.5, "output": 2e0, "write": {"5m": 1}, "from": "2026-01-01"}
    text = json.dumps({"models": [model], "aliases": {}}, indent=1)
    assert usd(cost(book(tmp_path, text, "p.json"), "m")) == 170
    (tmp_path / "p.yml").write_text("models: []")
    with pytest.raises(PriceFileError, match=r"p\.yml:1: YAML needs PyYAML .*JSON needs nothing"):
        load_user_prices(str(tmp_path / "p.yml"))


def test_an_empty_list_of_models_changes_nothing(tmp_path: Path) -> None:
    assert usd(cost(book(tmp_path, "{}", "p.json"), "gpt-4o")) == 350
    assert usd(cost(book(tmp_path, '{"models": [], "aliases": {}}', "p.json"), "gpt-4o")) == 350


BROKEN = [
    # a file's text, the line of the error, what it says, what it allows
    ("- 1", 1, "the file is not a mapping", "a mapping of currency"),
    ("", 1, "the file is not a mapping", "a mapping of currency"),
    ("modles: []", 1, "unknown key 'modles'", "currency, rate, source, date, aliases, models"),
    ("models: {}", 1, "models is not a list", "a list"),
    ("models:\n  - input: 1", 2, "a model has no match", "match: a model's name"),
    ("models:\n  - match: m\n    output: 1", 2, "a model has no input price", "input: a price"),
    ("models:\n  - match: m\n    input: -1", 3, "input is -1", "a number of at least 0"),
    ("models:\n  - match: m\n    input: .nan", 3, "input is nan", "a number of at least 0"),
    ("models:\n  - match: m\n    input: true", 3, "input is True", "a number of at least 0"),
    (
        "models:\n  - match: m\n    input: 1\n    read: cheap",
        4,
        "read is 'cheap'",
        "a number of at least 0",
    ),
    (
        "models:\n  - match: m\n    input: 1\n    cached: 1",
        4,
        "unknown key 'cached'",
        "match, provider, from, tier",
    ),
    (
        "models:\n  - match: m\n    input: 1\n    tier: turbo",
        4,
        "tier is 'turbo'",
        "standard, batch, flex",
    ),
    (
        "models:\n  - match: m\n    input: 1\n    from: soon",
        4,
        "from is 'soon'",
        "a day such as 2026-11-20",
    ),
    (
        "models:\n  - match: m\n    input: 1\n    from: '2026-13-01'",
        4,
        "from is '2026-13-01'",
        "a day such as",
    ),
    (
        "models:\n  - match: m\n    input: 1\n    write: {2h: 1}",
        4,
        "unknown key '2h'",
        "5m, 30m, 1h, 12h",
    ),
    (
        "models:\n  - match: m\n    input: 1\n    audio: 3",
        4,
        "audio is not a mapping",
        "input, read, output",
    ),
    (
        "models:\n  - match: m\n    input: 1\n    above: {many: {input: 1}}",
        4,
        "above has the key 'many'",
        "a number of",
    ),
    ("models:\n  - match: []\n    input: 1", 2, "match is empty", "a model's name"),
    ("models:\n  - match: ['']\n    input: 1", 2, "match is ''", "a text that is not empty"),
    ("models:\n  - match: 7\n    input: 1", 2, "match is 7", "a text that is not empty"),
    ("currency: EUR\nmodels: []", 1, "currency EUR has no rate", "rate: USD for one EUR"),
    ("currency: EUR\nrate: 0", 2, "rate is 0", "a number above 0"),
    ("aliases:\n  a: 1", 2, "an alias is 1", "a text"),
    ("aliases:\n  a: {provider: openai}", 2, "an alias has no model", "model, provider"),
    ("aliases: [a]", 1, "aliases is not a mapping", "a mapping"),
    ("a: 1\na: 2", 2, '"a" stands here twice', "JSON, or YAML"),
    ("models: [", 1, "expected the node content", "JSON, or YAML"),
    ("\x01", 1, "not YAML", "JSON, or YAML"),
    ("[" * 5000, 1, "not YAML", "JSON, or YAML"),
    ("date: 2026-13-01", 1, "month must be in 1..12", "JSON, or YAML"),
    ("a: " + "[" * 30 + "]" * 30, 1, "at most 20 levels", "JSON, or YAML"),
]


@pytest.mark.parametrize(("text", "line", "problem", "allowed"), BROKEN)
def test_errors_name_file_line_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, problem: str, allowed: str
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PriceFileError) as raised:
        load_user_prices(str(path))
    message = str(raised.value)
    assert f"{path}:{line}: " in message
    assert problem in message
    assert f"allowed: {allowed}" in message or allowed in message.partition("allowed: ")[2]


BROKEN_JSON = [
    ("", 1, "Expecting value"),
    ('{\n"models": nope}', 2, "Expecting value"),
    ('{\n"models" []}', 2, "expected :"),
    ('{\n"models": []', 2, "expected , or }"),
    ('{"models": [1\n2]}', 2, "expected , or ]"),
    ("{models: []}", 1, "expected a key in quotes"),
    ('{"a": "x\n"}', 1, "Invalid control character"),
    ("{} \n{}", 2, "expected the end of the file"),
    ('{"a": 1,\n"a": 2}', 2, '"a" stands here twice'),
    ("[" * 30, 1, "at most 20 levels"),
    ('{"models": [\n {"match": "m",\n  "input": "1"}]}', 3, "input is '1'"),
]


@pytest.mark.parametrize(("text", "line", "problem"), BROKEN_JSON)
def test_errors_in_json_have_lines_too(tmp_path: Path, text: str, line: int, problem: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PriceFileError) as raised:
        load_user_prices(str(path))
    assert f"{path}:{line}: " in str(raised.value)
    assert problem in str(raised.value)


def test_every_error_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("rate: 0\nmodels:\n  - input: x\n  - match: m\n", encoding="utf-8")
    with pytest.raises(PriceFileError) as raised:
        load_user_prices(str(path))
    assert [line.split(":")[1] for line in str(raised.value).splitlines()] == ["1", "3", "4"]


def test_a_broken_file_leaves_the_built_in_prices_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        prices = book(tmp_path, "models:\n  - match: gpt-4o\n    input: free\n")
        assert [usd(cost(prices, "gpt-4o")) for _ in range(3)] == [350, 350, 350]
    assert len(caplog.records) == 1
    assert "prices.yaml:3: input is 'free'; allowed: a number of at least 0" in caplog.text


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "prices.yaml"
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert usd(cost(PriceBook.load(str(path)), "gpt-4o")) == 350
    assert "cannot be read" in caplog.text


def test_no_file_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    assert (
        usd(cost(PriceBook.load(None), "gpt-4o")) == usd(cost(PriceBook.load(""), "gpt-4o")) == 350
    )
    assert not caplog.records
