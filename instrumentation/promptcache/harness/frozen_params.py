"""Request parameters that stay the same, since a change of them drops a cached prefix."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, cast, final

from promptcache.harness.frozen_json import canonical_json, freeze_json
from promptcache.harness.names import Wire
from promptcache.harness.prompt_error import PromptError
from promptcache.model import InvalidationLevel
from promptcache.providers.prompt import ParamLevels, select_cache_relevant_params

_LEVELS: Final[Mapping[Wire, tuple[str, str]]] = {
    "anthropic": ("anthropic.wire", "MESSAGES_PARAMS"),
    "invoke_model": ("anthropic.wire", "MESSAGES_PARAMS"),
    "chat": ("openai.wire", "CHAT_PARAMS"),
    "litellm": ("openai.wire", "CHAT_PARAMS"),
    "responses": ("openai.wire", "RESPONSES_PARAMS"),
    "gemini": ("google.wire", "CONTENT_PARAMS"),
    "converse": ("bedrock.wire", "CONVERSE_PARAMS"),
}
"""Each wire's parameters with the first section that a change of them takes out of the cache."""


@final
class FrozenParams:
    """The parameters of a prompt, and those of a chat's last request.

    `changes` lists what the last `merge` changed: name and the first section that is lost.
    """

    def __init__(self, wire: Wire, params: Mapping[str, Any]) -> None:
        self._levels = _param_levels(wire)
        self._params = params
        self._last = dict(self._cache_relevant(params)) if params else None
        self._is_plain = False  # whether the last request had the frozen parameters only
        self.changes: tuple[tuple[str, InvalidationLevel], ...] = ()

    def merge(self, params: Mapping[str, Any] | None, reserved: Collection[str]) -> dict[str, Any]:
        """Return the parameters of a request. Raise PromptError for one that the harness sets."""
        # Keys stay in order: models write their outputs in the order of the schema.
        if not params and self._is_plain:
            self.changes = ()
            return dict(self._params)
        self._is_plain = not params
        given = freeze_json(params or {}, "params", sort_keys=False)
        for name in (*self._params, *given):
            if name in reserved:
                raise PromptError(f"params.{name}", "is set by the harness")
        merged = {**self._params, **given}
        values = dict(self._cache_relevant(merged))
        last = values if self._last is None else self._last
        changed = [name for name in {**last, **values} if last.get(name) != values.get(name)]
        levels = dict(self._levels)
        self.changes = tuple((name, levels[name]) for name in changed if levels[name] != "none")
        self._last = values
        return merged

    def names_of_head_params(self) -> frozenset[str]:
        """Return the first part of the names of the parameters that the static layer depends on."""
        return frozenset(
            name.partition(".")[0] for name, level in self._levels if level in ("tools", "system")
        )

    def _cache_relevant(self, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for param in select_cache_relevant_params(params, self._levels):
            yield param.name, canonical_json(param.value)


def _param_levels(wire: Wire) -> ParamLevels:
    module, name = _LEVELS[wire]
    return cast("ParamLevels", getattr(import_module(f"promptcache.providers.{module}"), name))
