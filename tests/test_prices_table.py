"""The committed price table equals the build of its sources, and reading it imports little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from promptcache.prices import table
from promptcache.prices.build import apply_overrides as overlay
from promptcache.prices.build import compile as build
from promptcache.prices.build import overrides as own
from promptcache.prices.build.apply_overrides import RawRow


@pytest.fixture(scope="module")
def compiled() -> dict[str, list[str]]:
    return build.compile_price_tables()


def test_the_committed_table_equals_the_build(compiled: dict[str, list[str]]) -> None:
    for vendor, lines in compiled.items():
        assert build.read_lines_if_exists(f"{table.DATA_DIR}/{vendor}.jsonl") == lines, (
            f"run `promptcache prices build` ({vendor})"
        )
    assert {path.stem for path in Path(table.DATA_DIR).glob("*.jsonl")} == set(compiled)


def test_a_rebuild_gives_the_same_rows_and_keeps_the_date_of_a_version(
    compiled: dict[str, list[str]], tmp_path: Path
) -> None:
    folder = str(tmp_path / "table")
    build.write_price_tables(build.compile_price_tables(folder, "2026-01-02"), folder)
    assert (
        json.loads(build.read_lines_if_exists(f"{folder}/openai.jsonl")[0])["date"] == "2026-01-02"
    )
    again = build.compile_price_tables(folder, "2026-05-05")
    assert again["openai"][1:] == compiled["openai"][1:]
    assert json.loads(again["openai"][0])["date"] == "2026-01-02"
    assert json.loads(build.compile_price_tables(str(tmp_path / "none"))["openai"][0])[
        "source"
    ].startswith("genai-prices ")


def test_rows_are_well_formed(compiled: dict[str, list[str]]) -> None:
    for vendor, lines in compiled.items():
        names: list[str] = []
        for line in lines[1:]:
            raw = json.loads(line)
            names += raw["names"]
            row = table.parse_price_row(vendor, line, json.loads(lines[0]))
            for tier in row.tiers():
                periods = row.periods_of_tier(tier, 1.0)
                assert [p.since for p in periods] == sorted(p.since for p in periods), row.id
                for period in periods:
                    assert len(period.rates_by_band) == len(period.band_starts) + 1
                    assert all(rates.source and rates.date for rates in period.rates_by_band)
        assert len(names) == len(set(names)), vendor


def test_a_row_is_found_by_its_names_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same text in another field of a line is no match."""
    header = '{"source":"s","date":"2026-01-01"}'
    lines = ['{"names":["a"],"prices":[],"also":{"x":"b"}}', '{"names":["b"],"prices":[]}']
    (tmp_path / "acme.jsonl").write_text("\n".join([header, *lines]), encoding="ascii")
    monkeypatch.setattr(table, "DATA_DIR", str(tmp_path))
    row = table.find_price_row("acme", ["c", "b"])
    assert row is not None
    assert (row.id, row.source, row.date) == ("b", "s", "2026-01-01")
    assert table.find_price_row("acme", ["x"]) is None
    assert table.find_price_row("nobody", ["b"]) is None


IMPORT_PROGRAM = """
import sys
before = set(sys.modules)
import promptcache.prices.{module}
heavy = {{"genai_prices", "yaml", "pydantic", "typer", "promptcache.prices.user_prices"}}
heavy &= set(sys.modules) - before
print(sorted(heavy))
"""


@pytest.mark.parametrize("module", ["book", "table", "model_names", "algebra"])
def test_importing_prices_imports_nothing_heavy(module: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", IMPORT_PROGRAM.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == "[]"


PRICED_CALL_PROGRAM = """
import sys
from promptcache.model import Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
book = PriceBook.load_with_user_prices(sys.argv[1])
request = Request("", "openai", "chat", "gpt-4o", None, None, False, {}, b"", 1_795_000_000.0)
print(book.compute_cost(request, ResponseFacts(), Usage(100, 100, 0, 0, {}, 10)).amount)
build_modules = ("promptcache.prices.build", "genai_prices")
print([name for name in sys.modules if name.startswith(build_modules)])
"""


def test_a_priced_call_imports_nothing_that_compiles_the_table(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": [{"match": "mine", "input": 1}]}')
    process = subprocess.run(
        [sys.executable, "-c", PRICED_CALL_PROGRAM, str(prices)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.splitlines() == ["0.00035", "[]"]


# Each kind of override rule changes a small example row.

STANDARD: dict[str, Any] = {
    "input": 2,
    "read": [1, 100, 4],
    "output": 8,
    "tools.web_search": 10,
    "storage": 3,
}


def make_row(*prices: dict[str, Any]) -> RawRow:
    return {"names": ["m*"], "prices": [dict(price) for price in prices]}


def make_multiply_rule(since: str = "2026-01-01", **factors: float) -> own.TierAsMultipleOfStandard:
    return own.TierAsMultipleOfStandard(
        "v", ("m",), "flex", since, {"*": 0.5} | factors, "page", "2026-02-02"
    )


def test_multiply_standard_adds_a_tier_until_the_list_has_one() -> None:
    row = make_row(
        STANDARD,
        {"from": "2026-03-01", "input": 4},
        {"tier": "flex", "from": "2026-06-01", "input": 9},
    )
    overlay.apply_rule_if_matching(row, make_multiply_rule(read=1.0))
    assert row["prices"][3:] == [
        {
            "tier": "flex",
            "from": "2026-01-01",
            "source": "page",
            "date": "2026-02-02",
            "input": 1,
            "read": [1, 100, 4],
            "output": 4,
            "tools.web_search": 10,
        },
        {"tier": "flex", "from": "2026-03-01", "source": "page", "date": "2026-02-02", "input": 2},
    ]


def test_multiply_standard_does_not_change_other_models() -> None:
    row = make_row(STANDARD)
    row["names"] = ["other"]
    overlay.apply_rule_if_matching(row, make_multiply_rule())
    assert row["prices"] == [STANDARD]


BACKDATE_RULE = own.BackdateTier("v", "flex", "2026-01-01", "page", "2026-02-02")


def test_backdate_tier_moves_the_start_of_the_tier() -> None:
    row = make_row({"input": 2}, {"tier": "flex", "from": "2026-06-01", "input": 1})
    overlay.apply_rule_if_matching(row, BACKDATE_RULE)
    assert row["prices"][1] == {
        "tier": "flex",
        "from": "2026-01-01",
        "input": 1,
        "source": "page",
        "date": "2026-02-02",
    }


def test_backdate_tier_keeps_the_ratio_to_an_older_standard_price() -> None:
    row = make_row(
        {"input": [10, 5, 20]},
        {"from": "2026-03-01", "input": [2, 5, 4]},
        {"tier": "flex", "from": "2026-06-01", "input": [1, 5, 2]},
    )
    overlay.apply_rule_if_matching(row, BACKDATE_RULE)
    assert [(price.get("from"), price["input"]) for price in row["prices"] if "tier" in price] == [
        ("2026-03-01", [1, 5, 2]),
        ("2026-01-01", [5, 5, 10]),
    ]


@pytest.mark.parametrize("before", [{"read": 1}, {"input": [10, 5, 20]}])
def test_backdate_tier_skips_prices_of_a_different_shape(before: dict[str, Any]) -> None:
    row = make_row(
        before,
        {"from": "2026-03-01", "input": 2},
        {"tier": "flex", "from": "2026-06-01", "input": 1},
    )
    overlay.apply_rule_if_matching(row, BACKDATE_RULE)
    assert [price["from"] for price in row["prices"] if "tier" in price] == ["2026-03-01"]


@pytest.mark.parametrize("prices", [(STANDARD,), (STANDARD, {"tier": "flex", "input": 1})])
def test_backdate_tier_does_not_change_a_row_that_needs_none(
    prices: tuple[dict[str, Any], ...],
) -> None:
    row = make_row(*prices)
    overlay.apply_rule_if_matching(row, BACKDATE_RULE)
    assert row["prices"] == list(prices)


def test_add_price_fills_a_missing_price_and_records_its_source() -> None:
    row = make_row(
        {"input": 2, "write.30m": 2.5},
        {"input": 3},
        {"tier": "batch", "input": 1, "write.30m": 1, "write.12h": 7},
    )
    overlay.apply_rule_if_matching(
        row,
        own.AddPrice("v", ("*",), "write.12h", "page", "2026-02-02", base_key="input", factor=2.5),
    )
    assert [price.get("write.12h") for price in row["prices"]] == [5, None, 7]
    assert row["also"] == {"write.12h": "page (2026-02-02)"}
    other = make_row({"read": 2})
    overlay.apply_rule_if_matching(
        other, own.AddPrice("v", ("*",), "write.5m", "page", "2026-02-02", base_key="input")
    )
    assert "also" not in other


def test_the_first_region_uplift_of_a_model_applies() -> None:
    row = make_row(STANDARD)
    for factor in (1.1, 1.0):
        overlay.apply_rule_if_matching(
            row, own.RegionUplift("v", ("m",), {"us": factor}, "page", "2026-02-02")
        )
    assert row["uplift"] == {"us": 1.1}


def test_dropped_names_and_models_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = (
        own.DropModelNames("v", ("a*", "gone"), "page", "2026-02-02"),
        own.DropModels("v", ("other",), "page", "2026-02-02"),
    )
    monkeypatch.setattr(own, "OVERRIDE_RULES", rules)
    rows: list[RawRow] = [
        {"names": [*names], "prices": []} for names in (["m", "alias"], ["gone"], ["other"])
    ]
    assert [row["names"] for row in overlay.apply_overrides("v", rows)] == [["m"]]


def test_prices_are_rounded_to_the_digits_of_their_source() -> None:
    assert [overlay.round_price(value) for value in (0.1 + 0.2, 2.0, 1e-9)] == [0.3, 2, 1e-9]


def test_every_override_rule_has_a_source_a_date_and_a_known_vendor(
    compiled: dict[str, list[str]],
) -> None:
    for rule in own.OVERRIDE_RULES:
        assert rule.source
        assert table.to_epoch_seconds(rule.date) > 0
        assert rule.vendor in compiled
