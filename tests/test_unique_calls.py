"""Calls in which every value is unique leave bounded memory. `make leaks` makes 200,000 of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.leaks import MAX_NAMED_MODELS, SETTINGS, measure_leaks
from promptcache.prices import PriceBook

FILL_CALLS = 1000
"""Small mappings are full then. The large ones hold no objects of their own."""
CALLS = 300


def find_no_price(*_: object) -> None:
    """Stand for the search of the price lists, which takes a millisecond for an unknown name."""


def test_unique_calls_stay_within_all_bounds_and_leave_no_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PriceBook, "find_price_row", find_no_price)
    settings = replace(SETTINGS, memory_nodes=128, memory_calls=64)
    report = measure_leaks("unique", CALLS, FILL_CALLS, settings)
    before, after = report.object_counts
    assert report.exceeded_bounds == ()
    assert report.named_models <= MAX_NAMED_MODELS + 1
    assert after - before < CALLS / 3, "calls leave objects"
