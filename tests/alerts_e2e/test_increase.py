"""The dashboard's `increase` and `rate`, which extrapolate, are within 1 % of the table.

A real Prometheus holds the counters of calls that really ran. The calls of the first half hour come
twice as often as those of the second, so that an extrapolation cannot be exact by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from tests.alerts_e2e.counted_service import CACHED, UNCACHED, Service, render_openmetrics
from tests.alerts_e2e.dashboard import prometheus_panels, query_panel
from tests.alerts_e2e.recorded_prometheus import running_prometheus
from tests.backends.figures import Figures, figures_of_source

START: Final = 1_790_000_000
HOUR: Final = 3_600
SECONDS_BETWEEN_SCRAPES: Final = 30
SCRAPES: Final = HOUR // SECONDS_BETWEEN_SCRAPES
SCRAPES_OF_TEN_MINUTES: Final = 20
ROUNDS_BEFORE: Final = 20
"""So many that all series are there: `increase` misses the first value of a new series."""
END: Final = START + HOUR + 7
"""The window begins and ends between two scrapes."""


class Recorded(NamedTuple):
    """An hour of calls: the figures of the table, and a Prometheus with their counters."""

    figures: Figures
    prometheus: str


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, served: str) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("increase")
    table = folder / "calls.db"
    with Service("shop", table, served) as shop:
        for _ in range(ROUNDS_BEFORE):
            make_calls(shop)
        scrapes = [(START, shop.begin_window())]
        for number in range(1, SCRAPES + 1):
            for _ in range(2 if number <= SCRAPES / 2 else 1):
                make_calls(shop)
            scrapes.append((START + number * SECONDS_BETWEEN_SCRAPES, shop.read_counters()))
        shop.end_window()
    sparse = [
        (at, [one._replace(labels={**one.labels, "job": "sparse"}) for one in samples])
        for at, samples in scrapes[::SCRAPES_OF_TEN_MINUTES]
    ]
    with running_prometheus(render_openmetrics([*scrapes, *sparse]), folder) as url:
        yield Recorded(figures_of_source(str(table)), url)


def make_calls(service: Service) -> None:
    """Make a hit, a miss that costs, an unreported, and an unpriced call."""
    for usage in (CACHED, UNCACHED, {}):
        service.call("gpt-5.4", usage)
    service.call("model-of-the-house", CACHED)


def figures_by(recorded: Recorded, by: GroupBy, name: str) -> dict[str, float]:
    """Return one figure of each group; "not reported" is left out."""
    at = FIGURES.index(name)
    groups = recorded.figures[by].items()
    return {key or "": values[at] or 0 for key, values in groups if values[at]}


def expected_panels(recorded: Recorded) -> dict[str, dict[str, float]]:
    """Return what each panel shows of the hour, from the table."""

    def total(name: str) -> float:
        return figures_by(recorded, GroupBy.SERVICE, name)["shop"]

    def usd(name: str) -> float:
        return total(f"{name}_picodollars") / PICODOLLARS_PER_USD

    read = total("total_read_tokens")
    rated = figures_by(recorded, GroupBy.MODEL, "rated_input_tokens")
    rated_read = figures_by(recorded, GroupBy.MODEL, "rated_read_tokens")
    wasted = figures_by(recorded, GroupBy.REASON, "wasted_picodollars")
    return {
        "Hit rate": {f"shop, {model}": rated_read[model] / rated[model] for model in rated},
        "Calls by outcome": figures_by(recorded, GroupBy.OUTCOME, "total_calls"),
        "Input tokens by class": {
            "read": read,
            "uncached": total("total_input_tokens") - read,
        },
        "Cost an hour": {"with cache": usd("cost"), "without cache": usd("without_cache")},
        "Saved and wasted an hour": {
            "saved": usd("without_cache") - usd("cost"),
            "wasted": usd("wasted"),
        },
        "Waste by cause, an hour": {
            reason: picodollars / PICODOLLARS_PER_USD for reason, picodollars in wasted.items()
        },
        "Calls that the figures leave out": {
            "unreported": total("unreported_calls"),
            "unpriced": total("unpriced_calls"),
        },
    }


def shown_panels(recorded: Recorded, service: str) -> dict[str, dict[str, float]]:
    """Return what each panel shows. Outcomes that did not occur have a counter with 0."""
    shown = {
        panel["title"]: query_panel(recorded.prometheus, panel, service, END, "1h")
        for panel in prometheus_panels("job")
    }
    return {
        title: known
        for title, values in shown.items()
        if (known := {legend: value for legend, value in values.items() if value})
    }


def test_every_panel_is_within_a_hundredth_of_the_table(recorded: Recorded) -> None:
    shown, expected = shown_panels(recorded, "shop"), expected_panels(recorded)
    assert shown.keys() == expected.keys()
    for title, values in expected.items():
        assert all(values.values()), title
        assert shown[title] == pytest.approx(values, rel=0.01), title


def test_few_scrapes_are_further_off(recorded: Recorded) -> None:
    shown = shown_panels(recorded, "sparse")["Calls by outcome"]
    calls = expected_panels(recorded)["Calls by outcome"]
    assert shown != pytest.approx(calls, rel=0.01)
    assert shown == pytest.approx(calls, rel=0.1)
