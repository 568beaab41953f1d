"""The user's own dimensions of a call: the attributes that `OTEL_PROMPTCACHE_TABLE_KEYS` lists."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from promptcache.settings import OTEL_PROMPTCACHE_TABLE_KEYS

if TYPE_CHECKING:
    from promptcache_exporters.database.recorded_span import RecordedSpan

MAX_VALUE_BYTES: Final = 128
"""A longer value is left out: a part of it could be the value of something else."""
MAX_KEYS: Final = 32


def read_dimensions(span: RecordedSpan) -> str | None:
    """Return the listed attributes of `span` as one JSON object; None if it has none of them."""
    keys = list_dimension_keys()
    attributes = (span.attributes or {}) if keys else {}
    values = {key: attributes[key] for key in keys if _is_short_scalar(attributes.get(key))}
    return json.dumps(values, separators=(",", ":"), sort_keys=True) if values else None


def list_dimension_keys() -> tuple[str, ...]:
    """Return the keys of `OTEL_PROMPTCACHE_TABLE_KEYS`."""
    return _parse_keys(os.environ.get(OTEL_PROMPTCACHE_TABLE_KEYS, ""))


def _is_short_scalar(value: object) -> bool:
    if isinstance(value, (bool, int, float)):
        return value == value and abs(value) < 2**63  # JSON has neither NaN nor infinity
    return isinstance(value, str) and len(value.encode("utf-8", "replace")) <= MAX_VALUE_BYTES


@lru_cache(maxsize=4)
def _parse_keys(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))[:MAX_KEYS]
