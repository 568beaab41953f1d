"""How short a prompt may be and still be cached: what is documented, and what was seen here."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, final

from promptcache.generations import Generations
from promptcache.model import Request, Usage
from promptcache.rules import Rule

_BELIEVED: Final = 1.5
"""From so many times the documented minimum on, a prompt is taken to have been cached before any was seen to be."""


@final
class Minima:
    """The smallest prompts that were seen to be cached, by provider and model. Not thread-safe by itself."""

    def __init__(self) -> None:
        self._least: Generations[Hashable, int] = Generations(512)

    def observed(self, request: Request, known: Rule, usage: Usage) -> Rule:
        """The rule, with the minimum lowered to what this call and those before it showed to be cached."""
        key = (request.provider, request.model)
        cached, least = (usage.read or 0) + (usage.write or 0), self._least.get(key)
        if cached and (least is None or cached < least):
            self._least[key] = least = cached
        return (
            known._replace(minimum=least) if least is not None and least < known.minimum else known
        )

    def believed(self, request: Request, known: Rule) -> int:
        """From how many tokens on a prompt is believed to be cached where no usage says that it was."""
        if known.writes:
            return known.minimum
        least, doubted = (
            self._least.get((request.provider, request.model)),
            round(_BELIEVED * known.minimum),
        )
        return doubted if least is None else max(known.minimum, min(least, doubted))
