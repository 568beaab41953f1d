"""The fields of a call by which a report groups and selects calls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_DIMENSION_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class GroupBy(StrEnum):
    """The fields that every table has."""

    SERVICE = "service"
    MODEL = "model"
    PREFIX = "prefix"
    FAMILY = "family"
    CALLSITE = "callsite"
    OUTCOME = "outcome"
    REASON = "reason"
    PROVIDER = "provider"
    CONVERSATION = "conversation"
    AGENT = "agent"
    PROMPT = "prompt"


def is_dimension_name(name: str) -> bool:
    """Return whether a `Dimension` may have this name."""
    return _DIMENSION_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Dimension:
    """A field of the user's own: a key that `OTEL_PROMPTCACHE_TABLE_KEYS` lists.

    The name has only letters, digits and `_.-`, since it becomes a part of SQL.
    """

    name: str

    def __post_init__(self) -> None:
        if not is_dimension_name(self.name):
            raise ValueError(f"{self.name!r} is no name of a field")

    def __str__(self) -> str:
        return self.name


CallField = GroupBy | Dimension


def parse_call_field(name: str) -> CallField:
    """Return the field of this name: one of `GroupBy`, else a dimension of the user's own.

    Raises ValueError for a text that is no name.
    """
    name = name.strip()
    return GroupBy(name) if name in [*GroupBy] else Dimension(name)
