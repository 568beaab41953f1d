"""The checks of the pytest plugin find the labelled breaks, and are silent on stable agents."""

from __future__ import annotations

import pytest

from promptcache_testing.turns import BREAKS
from tests.breaks.apis import APIS
from tests.breaks.plugin_recall import (
    BROKEN,
    STABLE,
    Conversation,
    compare_twice,
    conversations,
    find_breaks,
    is_exact,
    static_break,
)


@pytest.mark.parametrize("name", STABLE)
def test_a_stable_agent_passes(name: str) -> None:
    played = conversations([name], [1])
    assert not {one.id: found for one in played if (found := find_breaks(one)[2])}


@pytest.mark.parametrize("name", BROKEN)
def test_a_labelled_break_fails(name: str) -> None:
    """A mutator without an effect on an API, such as a parameter that it lacks, yields no label."""
    for one in conversations([name], [1]):
        labels = [step.label for step in one.steps() if step.label is not None]
        if any(label.reason in BREAKS for label in labels):
            assert find_breaks(one)[2], one.id


def test_a_second_process_shows_what_its_surroundings_change_and_nothing_else() -> None:
    """A tenth of `make plugin-score`: each mutator on one API."""
    sample = [
        Conversation(name, APIS[number % len(APIS)], 1)
        for number, name in enumerate([*BROKEN, *STABLE])
    ]
    played = [one for one in sample if one.name in STABLE or static_break(one)]
    for one, comparison in compare_twice(played):
        if one.name in STABLE:
            assert (comparison.differences, comparison.unmatched_calls) == ((), ()), one.id
        else:
            step = static_break(one)
            assert step is not None
            assert is_exact(comparison, step.label), one.id
