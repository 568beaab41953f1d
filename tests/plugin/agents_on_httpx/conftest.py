"""What the agents have in common: instructions with and without a clock, one tool, the answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, Final

import pytest

HANDBOOK: Final = (
    "You are the support agent of a web shop, and you follow the handbook to the letter. " * 60
)
DAY: Final = date.today()
INSTRUCTIONS: Final[dict[str, Callable[[], str]]] = {
    "stable": lambda: HANDBOOK,
    # Equal within a process, but not tomorrow.
    "with_date": lambda: f"{HANDBOOK}Today is {DAY:%A, %Y-%m-%d}.",
    # Another one in each turn.
    "with_clock": lambda: f"It is {datetime.now(UTC).isoformat()}. {HANDBOOK}",
}
"""The tests of run.py expect that only the first one passes."""


@pytest.fixture(params=INSTRUCTIONS)
def instructions(request: pytest.FixtureRequest) -> Callable[[], str]:
    """A function that returns the system prompt, which is called in each turn."""
    return INSTRUCTIONS[request.param]


@pytest.fixture
def model(prompt_cache: Any) -> Any:
    """The emulated model, which calls the tool in the first turn."""
    from promptcache_testing import ToolCall

    prompt_cache.answers([ToolCall("find_order", {"number": "12"}), "It is on its way.", "Yes."])
    return prompt_cache
