"""Which calls a report is about: a time range, and conditions on their fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from promptcache_exporters.database.dialect import SQLDialect
from promptcache_exporters.database.source import CallsSource
from promptcache_exporters.report.call_field import CallField, parse_call_field
from promptcache_exporters.report.figures import group_key_expression

_CONDITION: Final = re.compile(r"([^=~!]+)(!=|!~|=|~)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """A condition on one field. A call without the field has the value ''.

    operator: `=` equal, `!=` not equal, `~` contains, `!~` does not contain; `~` and `!~` do not
    distinguish capital letters.
    """

    field: CallField
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{self.value}"

    def to_sql(self, dialect: SQLDialect) -> str:
        """Return the SQL with one `?` for the value, over the columns of the view `calls`."""
        key = f"coalesce({group_key_expression(self.field, dialect)}, '')"
        if self.operator in ("=", "!="):
            return f"{key} {'=' if self.operator == '=' else '<>'} ?"
        contains = dialect.contains_template.format(key, "?")
        return contains if self.operator == "~" else f"NOT ({contains})"


def parse_field_condition(text: str) -> FieldCondition:
    """Return the condition of `service=shop` or `model~sonnet`. Raises ValueError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no condition")
    name, operator, value = match.groups()
    return FieldCondition(parse_call_field(name), operator, value)


def select_calls(
    source: CallsSource, conditions: Iterable[FieldCondition], until: float = math.inf
) -> CallsSource:
    """Return the source with the calls before `until` (epoch seconds) that fulfil `conditions`."""
    known = list(conditions)
    parts = [condition.to_sql(source.dialect) for condition in known]
    parameters: list[str | float] = [condition.value for condition in known]
    if until != math.inf:
        parts.append("time < ?")
        parameters.append(until)
    return source.select_calls(" AND ".join(parts), parameters) if parts else source
