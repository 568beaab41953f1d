"""The commands `prices show`, `prices build`, `cost` and `breakeven`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from promptcache.cli.commands import app
from promptcache.cli.price_format import format_usd
from promptcache.prices import table
from promptcache.settings import OTEL_PROMPTCACHE_PRICES


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env={OTEL_PROMPTCACHE_PRICES: None})


def run_for_text(*arguments: str) -> str:
    """Run a command and return its output in one line, with single spaces."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def run_for_json(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.output)
    return document


def test_cost_prints_every_part_and_its_price() -> None:
    """platform.claude.com pricing, 2026-10-07: Opus 5.5 4 / 0.20 / 5 / 8 / 20."""
    document = run_for_json(
        "cost",
        "--model",
        "claude-opus-5-5",
        "--at",
        "2026-11-20T10:00",
        "--uncached",
        "300",
        "--read",
        "5000",
        "--write-5m",
        "100",
        "--write-1h",
        "50",
        "--output",
        "10",
    )
    assert document["amount"] == 0.0033
    assert document["parts"] == {
        "input": 0.0012,
        "cache_read": 0.001,
        "cache_write": 0.0009,
        "output": 0.0002,
    }
    assert document["without_cache"] == 0.022
    assert document["saved"] == 0.0187
    assert document["unknown"] is None
    assert document["currency"] == "USD"
    price = document["price"]
    assert (price["provider"], price["model"], price["tier"]) == (
        "anthropic",
        "claude-opus-5-5",
        "standard",
    )
    assert price["source"].startswith("genai-prices ")
    assert price["date"]
    assert price["usd_per_million"]["write.1h"] == 8


@pytest.mark.parametrize(
    ("arguments", "usd"),
    [
        ("--model gpt-6-sol --write-30m 1000 --write-12h 1000", 0.0075),
        ("--model gpt-6-sol --uncached 1000 --tier flex", 0.001),
        ("--model gpt-6-sol --uncached 1000 --batch", 0.001),
        ("--model gpt-6-sol --uncached 1000 --geo regional", 0.0022),
        ("--model claude-opus-5-5 --uncached 1000 --speed fast", 0.008),
        ("--model claude-opus-5-5 --uncached 1000 --geo us --batch", 0.0022),
        ("--model claude-sonnet-4-6 --uncached 300000 --at 2026-03-12", 1.8),
        ("--model deepseek-v4-pro --uncached 1000000 --at 2026-11-20T02:00+01:00", 1.32),
        ("--provider azure.ai.openai --model gpt-4o --uncached 1000", 0.0025),
        ("--provider aws.bedrock --model us.anthropic.claude-opus-5-5 --uncached 1000", 0.0044),
        (
            (
                "--model gemini-2.5-flash --uncached 600 --audio-input 400 --read 500"
                " --audio-read 500 --output 100"
            ),
            0.000895,
        ),
        ("--model gpt-4o-audio-preview --audio-output 100", 0.008),
    ],
)
def test_each_option_of_cost_changes_the_amount(arguments: str, usd: float) -> None:
    assert run_for_json("cost", *arguments.split())["amount"] == usd


def test_cost_prints_amount_and_savings_as_text() -> None:
    result = run("cost", "--model", "claude-opus-5-5", "--write-5m", "1000")
    assert result.exit_code == 0
    assert "amount         0.005 USD" in result.output
    assert "saved          -0.001 USD" in result.output
    assert "cache_read" not in result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("cost --model nope --uncached 1", "model"),
        ("cost --model gpt-4o --uncached 1 --tier scale", "tier"),
        ("cost --model gpt-4o --write-12h 1", "price"),
        ("prices show nope", "model"),
        ("prices show gpt-4o --tier flex", "tier"),
        ("prices show deepseek-chat --at 2024-01-01", "price"),
        ("prices show grok-4.3 --batch --at 2026-01-01", "tier"),
        ("breakeven nope", "model"),
        ("breakeven o1-pro", "price"),
    ],
)
def test_unknown_costs_exit_with_3(arguments: str, reason: str) -> None:
    result = run(*arguments.split())
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"({reason})" in result.stderr
    json_result = run(*arguments.split(), "--json")
    assert json_result.exit_code == 3
    document = json.loads(json_result.stdout)
    assert (document["amount"], document["unknown"]) == (None, reason)


@pytest.mark.parametrize(
    "arguments",
    [
        "cost",
        "cost --model gpt-4o --uncached -1",
        "cost --model gpt-4o --at yesterday",
        "cost --model gpt-4o --read x",
        "cost --model gpt-4o",
        "breakeven gpt-6-sol --per-hour inf",
        "breakeven gpt-6-sol --per-hour nan",
    ],
)
def test_invalid_arguments_exit_with_2(arguments: str) -> None:
    assert run(*arguments.split()).exit_code == 2


def test_show_prints_prices_bands_tiers_and_sources() -> None:
    result = run("prices", "show", "gpt-6-sol", "--at", "2026-11-20")
    assert result.exit_code == 0
    assert "openai gpt-6-sol, standard, in USD:" in result.output
    assert "above 272,000 input tokens" in result.output
    assert "write.12h 5 per million tokens" in " ".join(result.output.split())
    assert "Tiers: standard, batch, flex, priority." in result.output
    assert "write.12h: developers.openai.com" in result.output
    document = run_for_json("prices", "show", "gpt-6-sol", "--tier", "flex", "--at", "2026-08-01")
    assert [band["above"] for band in document["bands"]] == [None, 272_000]
    assert [band["usd_per_million"]["input"] for band in document["bands"]] == [1, 2]
    assert document["bands"][0]["since"] == "2026-07-15"
    since = run("prices", "show", "claude-sonnet-4-6", "--at", "2026-11-20").output
    assert "in force since 2026-03-13" in since


def test_show_prints_prices_of_the_user_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(
        '{"models": [{"match": "mine", "input": 1, "tools": {"web_search": 5}}]}'
    )
    result = run("prices", "show", "mine", "--provider", "x", "--prices", str(tmp_path / "p.json"))
    assert result.exit_code == 0
    assert "tools.web_search 5 per 1,000 uses" in " ".join(result.output.split())
    assert "Source: p.json" in result.output


def test_breakeven_prints_the_cheapest_ttl_and_each_break_even_request() -> None:
    """S0-breakeven of the worked examples: 1.25x pays with 2 requests, 2x with 3."""
    result = run("breakeven", "claude-sonnet-4-6", "--per-hour", "12")
    assert result.exit_code == 0
    assert "Cheapest: 1h." in result.output
    document = run_for_json("breakeven", "claude-sonnet-4-6", "--per-hour", "12", "--steady")
    assert document["cheapest"] == "5m"
    assert {row["ttl"]: row["pays_after"] for row in document["choices"]} == {
        "5m": 2,
        "1h": 3,
        "none": None,
    }
    assert {row["ttl"] for row in run_for_json("breakeven", "gpt-6-sol")["choices"]} == {
        "30m",
        "12h",
        "none",
    }


def test_breakeven_includes_stored_caches() -> None:
    """S1-gemini31pro: 4 requests an hour pay; each of 12 costs (2 + 4.5) / 12 + 0.2."""
    document = run_for_json("breakeven", "gemini-3.1-pro-preview", "--per-hour", "12")
    assert (document["cheapest"], document["stored_pays_from_per_hour"]) == ("stored", 4)
    assert document["choices"][0]["usd_per_million"] == pytest.approx((2 + 4.5) / 12 + 0.2)
    text = run_for_text("breakeven", "gemini-3.1-pro-preview")
    assert "stored 0.7417 100.00% 4 requests within the hour" in text
    assert "Cheapest: stored." in text
    for rate, best in (("0", "none"), ("3", "none"), ("4", "stored")):
        assert (
            run_for_json("breakeven", "gemini-3.1-pro-preview", "--per-hour", rate)["cheapest"]
            == best
        )


@pytest.mark.parametrize("model", ["gpt-5.4", "gpt-4o", "deepseek-flash"])
def test_breakeven_says_that_free_writes_need_no_choice(model: str) -> None:
    assert "Caching is automatic and writing is free" in run_for_text("breakeven", model)
    assert "Cheapest" not in run("breakeven", model).output
    document = run_for_json("breakeven", model)
    assert (document["cheapest"], document["choices"], document["stored_pays_from_per_hour"]) == (
        "automatic",
        [],
        None,
    )


def test_breakeven_notes_a_missing_storage_price() -> None:
    assert "no price for the storage" in run_for_text("breakeven", "gemini-2.5-flash-lite")
    assert "no price for the storage" in run_for_json("breakeven", "gemini-2.5-flash-lite")["note"]


def test_breakeven_rounds_a_hit_rate_below_one_down() -> None:
    """1 - exp(-12 x 0.5) = 99.75 %."""
    assert " 99.75% " in run_for_text("breakeven", "gpt-6-sol", "--per-hour", "12")
    assert " 99.99% " in run_for_text("breakeven", "gpt-6-sol", "--per-hour", "30")
    assert " 100.00% " in run_for_text("breakeven", "gpt-6-sol", "--steady")


def test_build_check_prints_changed_rows_and_build_restores_them(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    shutil.copytree(table.DATA_DIR, folder)
    assert run("prices", "build", "--check", "--folder", str(folder)).exit_code == 0
    file = folder / "deepseek.jsonl"
    before = file.read_text()
    file.write_text(before.replace('"input":0.15', '"input":0.16'))
    stale = run("prices", "build", "--check", "--folder", str(folder))
    assert stale.exit_code == 1
    assert '-{"names":["deepseek-flash"]' in stale.stdout
    assert '+{"names":["deepseek-flash"]' in stale.stdout
    assert "1 of " in stale.stderr
    assert run("prices", "build", "--folder", str(folder)).exit_code == 0
    assert file.read_text() == before


def test_build_without_genai_prices_names_the_missing_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)
    result = run("prices", "build", "--check")
    assert result.exit_code == 2
    assert "promptcache[prices]" in result.stderr


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (1.5, "1.50"), (0.00241, "0.00241"), (-3.0, "-3.00"), (1e-9, "0.000000001")],
)
def test_usd_amounts_are_formatted(value: float, text: str) -> None:
    assert format_usd(value) == text


@pytest.mark.parametrize(
    "command", ["cost --model gpt-4o --read 1", "prices show gpt-4o", "breakeven gpt-4o"]
)
def test_an_unusable_price_file_is_reported(command: str, tmp_path: Path) -> None:
    """On the command line it is an error. From the environment it is a warning, and the built-in
    prices apply."""
    broken = tmp_path / "broken.json"
    broken.write_text('{"models": [{"match": "mine", "inptu": 1}]}')
    for path in (tmp_path / "missing.json", tmp_path, broken):
        result = run(*command.split(), "--prices", str(path))
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(path) in result.stderr
        default_result = CliRunner().invoke(
            app, command.split(), env={OTEL_PROMPTCACHE_PRICES: str(path)}
        )
        assert default_result.exit_code == 0
        assert str(path) in default_result.stderr
        assert "built-in prices stay in force" in default_result.stderr
    assert "inptu" in run(*command.split(), "--prices", str(broken)).stderr
    assert run(*command.split(), "--prices", "").exit_code == 2


def test_every_price_is_shown_with_its_unit() -> None:
    text = run_for_text("prices", "show", "gemini-3.1-pro-preview")
    assert " storage 4.5 per million token-hours " in text
    assert " tools.web_search 14 per 1,000 uses " in text
    band = run_for_json("prices", "show", "gemini-3.1-pro-preview")["bands"][0]
    assert band["usd_per_million"] == {"input": 2, "read": 0.2, "output": 12}
    assert band["usd_per_million_token_hours"] == {"storage": 4.5}
    assert band["usd_per_thousand_uses"] == {"tools.web_search": 14}


def test_cost_reports_audio_that_is_priced_as_text() -> None:
    arguments = ("cost", "--model", "gpt-4o", "--audio-input", "10")
    assert (
        "audio.input at the price of input: the list has no price for audio.input"
        in run_for_text(*arguments)
    )
    assert run_for_json(*arguments)["price"]["priced_as"] == {"audio.input": "input"}
    own = ("cost", "--model", "gpt-4o-audio-preview", "--audio-input", "10")
    assert run_for_json(*own)["price"]["priced_as"] == {}


def test_cost_names_the_band_of_a_long_context() -> None:
    assert (
        ", standard, above 272,000 tokens"
        in run("cost", "--model", "gpt-6-sol", "--uncached", "272001").output
    )
    assert "above" not in run("cost", "--model", "gpt-6-sol", "--uncached", "272000").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--model claude-opus-5-5 --tier gold",
            "no price for --tier gold; claude-opus-5-5 has the tiers standard, ",
        ),
        ("--model claude-opus-5-5 --geo mars --batch", "no price for --geo mars; "),
        ("--model claude-opus-5-5 --geo mars", "; regions us"),
        ("--model gpt-4o --speed fast", "no price for --speed fast; "),
        (
            "--model claude-opus-5-5 --speed fast --batch",
            "no price for --speed fast, --batch together; ",
        ),
        ("--model gpt-4o --provider nobody", "there is no price list of the provider 'nobody'"),
        ("--model qwen3-max --provider qwen", "no price list of the provider 'alibaba'.\n"),
    ],
)
def test_cost_names_the_option_that_has_no_price(arguments: str, message: str) -> None:
    result = run("cost", "--uncached", "1", *arguments.split())
    assert result.exit_code == 3
    assert message in result.stderr


def test_uses_of_tools_are_priced() -> None:
    result = run("cost", "--model", "gpt-4.1", "--uncached", "625", "--output", "150")
    assert "0.00245" in result.stdout
    with_tools = "cost --model gpt-4.1 --uncached 625 --output 150 --tool web_search=4 --json"
    assert json.loads(run(*with_tools.split()).stdout)["amount"] == 0.04245
    assert run("cost", "--model", "gpt-4.1", "--tool", "web_search").exit_code == 2
