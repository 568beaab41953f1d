"""The request parameters that decide about cache reuse without being text of the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, final

from promptcache.model import InvalidationLevel

LEVEL_ORDER: Final[Mapping[str, int]] = {"tools": 0, "system": 1, "messages": 2, "none": 3}
"""The sections in the order in which providers read them. `none`: the change invalidates
nothing."""


@final
class CacheParams(NamedTuple):
    """The model and the parameters of a request on which cache reuse depends.

    `params` holds for each parameter its name, the digest of its value and the first section that a
    change of it invalidates. `Memory.interned_params` holds one object for equal instances, so `is`
    compares them.
    """

    model: str | None
    params: tuple[tuple[str, int, InvalidationLevel], ...]


def changed_invalidating_params(new: CacheParams, old: CacheParams) -> list[tuple[str, str]]:
    """Return name and invalidation level of each parameter that differs, the earliest level first.

    A changed model counts as the parameter `model` of level `tools`. Parameters of level `none` are
    left out, because their change does not invalidate the cache.
    """
    if new is old:
        return []
    changed: list[tuple[str, str]] = [("model", "tools")] if new.model != old.model else []
    new_params, old_params = ({param[0]: param for param in side.params} for side in (new, old))
    names = [
        name
        for name in {**old_params, **new_params}
        if new_params.get(name) != old_params.get(name)
    ]
    changed += [(name, (new_params.get(name) or old_params[name])[2]) for name in names]
    return sorted(
        (item for item in changed if item[1] != "none"), key=lambda item: LEVEL_ORDER[item[1]]
    )
