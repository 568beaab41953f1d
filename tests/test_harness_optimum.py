"""The harness costs what the best of all placements costs. `make harness-bench` has all cases."""

from __future__ import annotations

import pytest

from promptcache_emulator import profiles
from promptcache_emulator.profiles import CacheProfile, select_profile
from tests.oracle.api_variants import (
    CHAT,
    CONVERSE,
    GEMINI,
    MESSAGES,
    READINGS,
    RESPONSES,
    VARIANTS,
    VERTEX_GEMINI,
    VERTEX_MESSAGES,
    Variant,
    profile_variants,
)
from tests.oracle.harness_regret import run_harness
from tests.oracle.layout_optimum import Policy, find_optimum, run_policy
from tests.oracle.layout_workloads import WORKLOADS


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (MESSAGES, "chat with a clock"),
        (RESPONSES, "one-shot RAG"),
        (CONVERSE._replace(marks=("5m",)), "four tenants"),
        (GEMINI, "chat with a clock"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_harness_is_within_two_per_cent_of_the_optimum(variant: Variant, name: str) -> None:
    optimum, _ = find_optimum(variant, WORKLOADS[name]())
    assert run_harness(variant, WORKLOADS[name]()) <= 1.02 * optimum


@pytest.mark.parametrize("variant", READINGS, ids=lambda value: value.name)
def test_the_harness_does_not_depend_on_the_reading_of_implicit_mode(variant: Variant) -> None:
    calls = list(WORKLOADS["one-shot RAG"]())
    cost = run_harness(variant, calls)
    assert cost == pytest.approx(run_harness(variant.with_rules("implicit=latest"), calls))
    assert cost < run_policy(variant, calls, Policy((), "30m", "30m", is_implicit=True))


@pytest.mark.parametrize(
    ("api", "rows"),
    [
        (MESSAGES, profiles.ANTHROPIC_PROFILES),
        (VERTEX_MESSAGES, profiles.ANTHROPIC_PROFILES),
        (CHAT, profiles.OPENAI_PROFILES),
        (RESPONSES, profiles.OPENAI_PROFILES),
        (GEMINI, profiles.GEMINI_PROFILES),
        (VERTEX_GEMINI, profiles.VERTEX_PROFILES),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_documented_profile_is_in_the_comparison(
    api: Variant, rows: tuple[CacheProfile, ...]
) -> None:
    variants = [one for one in profile_variants() if one.path == api.path]
    found = [select_profile(rows, one.models[0], one.start, {}) for one in variants]
    assert len(found) == len(rows)
    assert set(found) == set(rows)


def test_there_are_ten_api_variants() -> None:
    assert len({(variant.path, variant.models) for variant in VARIANTS}) >= 10
