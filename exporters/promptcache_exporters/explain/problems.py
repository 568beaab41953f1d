"""The problems of a table: miss reasons at one place of one prefix family, and what they wasted."""

from __future__ import annotations

import math
from typing import NamedTuple

from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD, SQLDialect
from promptcache_exporters.database.query import Query, QueryConnection
from promptcache_exporters.report.figures import figure_expression


class Problem(NamedTuple):
    """A reason at one place of one prefix family.

    wasted_picodollars: what its calls wasted together, more than 0. last_time: the start of the
    last of them, epoch seconds.
    """

    prefix_family: str | None
    miss_reason: str
    miss_section: str | None
    miss_index: int | None
    problem_calls: int
    wasted_picodollars: int
    last_time: float

    @property
    def wasted_usd(self) -> float:
        """What its calls wasted together."""
        return self.wasted_picodollars / PICODOLLARS_PER_USD


def fetch_problems(
    connection: QueryConnection, dialect: SQLDialect, since: float = -math.inf
) -> list[Problem]:
    """Return the problems of the calls since `since` (epoch seconds) that wasted anything.

    The largest sum is the first. Raises `CallsFileReadError`.
    """
    wasted = figure_expression("wasted_picodollars", dialect)
    query = Query(
        Problem,
        f"""
SELECT prefix_family, miss_reason, miss_section, miss_index, count(*) AS problem_calls,
    {wasted} AS wasted_picodollars, max(time) AS last_time
FROM calls WHERE miss_reason IS NOT NULL AND +time >= ?
GROUP BY 1, 2, 3, 4 HAVING {wasted} > 0""",  # noqa: S608  # our own SQL
    )
    return sorted(query.fetch_all(connection, since), key=_rank)


def _rank(problem: Problem) -> tuple[int, str, str, int, str]:
    place = (problem.miss_reason, problem.miss_section or "", problem.miss_index or 0)
    return (-problem.wasted_picodollars, *place, problem.prefix_family or "")
