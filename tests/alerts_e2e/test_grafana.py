"""A real Prometheus answers every query of the dashboard over samples with known results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptcache_exporters.alerts.definition import SERVICE_LABELS
from tests.alerts_e2e.dashboard import prometheus_panels, query_panel
from tests.alerts_e2e.recorded_prometheus import query_at, running_prometheus

START, MINUTES = 1_790_000_000, 30
STEP = 15
END = START + MINUTES * 60 - STEP
MODEL = {"gen_ai_request_model": "gpt-5.4"}
HIT = MODEL | {"promptcache_outcome": "hit", "promptcache_batch": "false"}
UNREPORTED = MODEL | {"promptcache_outcome": "unreported", "promptcache_batch": "false"}
RISES_PER_MINUTE: list[tuple[str, dict[str, str], float]] = [
    ("promptcache_input_tokens", HIT, 1000),
    ("promptcache_read_tokens", HIT, 800),
    ("promptcache_write_tokens", HIT | {"promptcache_ttl": "5m"}, 150),
    ("promptcache_calls", HIT, 9),
    ("promptcache_calls", UNREPORTED, 1),
    ("promptcache_unpriced_calls", MODEL | {"promptcache_cost_unknown": "model"}, 2),
    ("promptcache_cost_usd", MODEL, 0.3),
    ("promptcache_cost_without_cache_usd", MODEL, 1.0),
    ("promptcache_missed_tokens", MODEL | {"promptcache_miss_reason": "ttl_expired"}, 200),
    ("promptcache_wasted_usd", MODEL | {"promptcache_miss_reason": "ttl_expired"}, 0.05),
    *(
        (
            "promptcache_time_to_first_chunk_seconds_bucket",
            MODEL | {"promptcache_outcome": outcome, "le": le},
            count,
        )
        for outcome, low, high in (("hit", 10, 10), ("miss", 0, 10))
        for le, count in (("0.5", low), ("1.0", high), ("+Inf", high))
    ),
]
"""Counter, labels, and its rise in a minute."""

EXPECTED: dict[str, dict[str, float]] = {
    "Hit rate": {"shop": 0.8},
    "Calls by outcome": {"hit": 9, "unreported": 1},
    "Input tokens by class": {"read": 800, "written": 150, "uncached": 50},
    "Cost an hour": {"with cache": 18, "without cache": 60},
    "Saved and wasted an hour": {"saved": 42, "wasted": 3},
    "Waste by cause, an hour": {"ttl_expired": 3},
    "Time to the first chunk": {
        "hit p50": 0.25,
        "hit p95": 0.475,
        "miss p50": 0.75,
        "miss p95": 0.975,
    },
    "Calls that the figures leave out": {"unreported": 1, "unpriced": 2},
}


def render_openmetrics() -> str:
    """Return the samples of two services as OpenMetrics text. The dashboard selects one."""
    lines: list[str] = []
    for name in dict.fromkeys(name for name, _, _ in RISES_PER_MINUTE):
        bucket = name.endswith("_bucket")
        lines.append(
            f"# TYPE {name.removesuffix('_bucket')} {'histogram' if bucket else 'counter'}"
        )
        for _, labels, rise in (row for row in RISES_PER_MINUTE if row[0] == name):
            for service in ("shop", "desk"):
                all_labels = labels | {"job": service, "instance": "a", "service_name": service}
                label_text = ",".join(f'{key}="{value}"' for key, value in all_labels.items())
                series = f"{name}{'' if bucket else '_total'}{{{label_text}}}"
                lines += [
                    f"{series} {rise * at / 60:g} {START + at}"
                    for at in range(0, MINUTES * 60, STEP)
                ]
    lines.append("# TYPE target info")
    for service in ("shop", "desk"):
        info = f'target_info{{job="{service}",instance="a",service_name="{service}"}}'
        lines += [f"{info} 1 {START + at}" for at in range(0, MINUTES * 60, STEP)]
    return "\n".join([*lines, "# EOF"]) + "\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that holds the recorded samples."""
    folder = tmp_path_factory.mktemp("recorded")
    with running_prometheus(render_openmetrics(), folder) as url:
        yield url


def shown_by(prometheus: str, panel: dict[str, Any], service: str) -> dict[str, float]:
    values = query_panel(prometheus, panel, service, END, "1m")
    return {legend.removesuffix(", gpt-5.4"): value for legend, value in values.items()}


@pytest.mark.parametrize("labels", SERVICE_LABELS)
def test_every_dashboard_query_returns_the_recorded_figures(prometheus: str, labels: str) -> None:
    panels = prometheus_panels(labels)
    assert [panel["title"] for panel in panels] == list(EXPECTED)
    for panel in panels:
        values = shown_by(prometheus, panel, "shop")
        assert values == pytest.approx(EXPECTED[panel["title"]], rel=1e-6), panel["title"]


@pytest.mark.parametrize("labels", SERVICE_LABELS)
def test_queries_return_only_the_selected_services(prometheus: str, labels: str) -> None:
    for panel in prometheus_panels(labels):
        assert not any(shown_by(prometheus, panel, "nobody").values())


def test_all_services_together_return_both_services(prometheus: str) -> None:
    hit_rate = prometheus_panels("job")[0]
    assert shown_by(prometheus, hit_rate, ".*") == pytest.approx({"shop": 0.8, "desk": 0.8})


RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*-*.md")), ids=lambda path: path.stem)
def test_prometheus_accepts_the_queries_of_the_runbooks(prometheus: str, path: Path) -> None:
    queries = re.findall(r"^```promql\n(.*?)\n```", path.read_text(), re.MULTILINE | re.DOTALL)
    assert queries
    for query in queries:
        assert (
            query_at(prometheus, query, END)
            or "_hit:ratio" in query
            or "unless" in query
            or "== 0" in query
        ), query
