"""docs/practices.md names reasons and tests that exist, and its figures are those of the prices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from promptcache import CacheTracker
from promptcache.diagnosis.miss_reasons import MISS_REASONS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "practices.md").read_text()
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if "::" in line
]
TESTS = sorted(set(re.findall(r"`(tests/\w+\.py)::(\w+)`", PAGE)))


def test_each_reason_of_the_page_is_one_of_the_diagnosis() -> None:
    named = {reason for row in ROWS for reason in re.findall(r"`(\w+)`", row[1])}
    assert named <= {*MISS_REASONS}
    assert len(named) > 15


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_each_test_of_the_page_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def claude(read: int, write: int) -> dict[str, Any]:
    usage = {
        "input_tokens": 300,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
        "output_tokens": 0,
    }
    return {"type": "message", "usage": usage}


def gpt(read: int, write: int, plain: int = 300) -> dict[str, Any]:
    details = {"cached_tokens": read, "cache_write_tokens": write}
    total = read + write + plain
    usage = {"prompt_tokens": total, "prompt_tokens_details": details, "completion_tokens": 0}
    return {"choices": [], "usage": usage}


@pytest.mark.parametrize(
    ("name", "model", "hit", "miss"),
    [
        ("claude-sonnet-4-6", "claude-sonnet-4-6", claude(5000, 0), claude(0, 5000)),
        ("claude-opus-5-5", "claude-opus-5-5", claude(5000, 0), claude(0, 5000)),
        ("gpt-6-sol, explicit breakpoint", "gpt-6-sol", gpt(5000, 0), gpt(0, 5000)),
        (
            "gpt-6-sol, the provider's own breakpoint, in the worst reading",
            "gpt-6-sol",
            gpt(0, 5300, 0),
            gpt(0, 5300, 0),
        ),
    ],
)
def test_the_figures_are_those_of_the_prices(name: str, model: str, hit: Any, miss: Any) -> None:
    tracker = CacheTracker(model=model)
    for number in range(1000):
        tracker.record(hit if number < 900 else miss)
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
    plain, cached, saved = re.findall(r"(-?[\d.]+)(?: %)? (?=\|)", row.replace("$", ""))[-3:]
    assert tracker.saved_usd is not None
    assert tracker.cost_usd == pytest.approx(float(cached))
    assert tracker.cost_usd + tracker.saved_usd == pytest.approx(float(plain))
    assert 100 * tracker.saved_usd / float(plain) == pytest.approx(float(saved), abs=0.005)
