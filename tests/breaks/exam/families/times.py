"""Breaks by time: lapses, and races of requests whose prefix nobody had written yet."""

from __future__ import annotations

import random
from functools import partial

from tests.breaks.exam import corpus
from tests.breaks.exam.families.steps import make_conversation, plain
from tests.breaks.exam.prompts import make_base, user
from tests.breaks.exam.scenario import Step, Steps, family, label, mark
from tests.breaks.exam.surfaces import Surface

_RACE = label("concurrent_cold_race")
STAGGERS = (0.0, 0.05, 0.25, 0.5, 1.0)
"""Seconds between the requests, or between the answers, of a fan-out."""


@family("TTL lapse", simple=True)
def ttl_lapse(rng: random.Random, surface: Surface) -> Steps:
    if surface.provider == "deepseek":
        return  # DeepSeek publishes no lifetime: "hours to days".
    states = make_conversation(rng, surface)
    at = rng.randint(2, len(states) - 2)
    yield from plain(surface, states[:at])
    yield Step(mark(surface, states[at]), label("ttl_expired"), wait=surface.ttl * 1.5)
    yield from plain(surface, states[at + 1 :])


def _fan_out(
    size: int, sent_apart: float, answered_apart: float, rng: random.Random, surface: Surface
) -> Steps:
    """Ask `size` questions over one cold prompt at once, then one more after all answers."""
    base = make_base(rng, surface.smallest_handbook)
    marks = {"marks": (-1, 0)} if surface.marked else {}
    questions = [user(corpus.make_paragraph(rng, 2)) for _ in range(size + 1)]
    first_lasts = 3.0
    for number, question in enumerate(questions[:-1]):
        prompt = base.replace(turns=(question,), **marks)
        raced = number > 0 and number * sent_apart < first_lasts
        yield Step(
            prompt,
            _RACE if raced else None,
            wait=sent_apart if number else 0.0,
            lasts=first_lasts + number * answered_apart,
            overlaps=number > 0,
        )
    yield Step(base.replace(turns=(questions[-1],), **marks))


for _size in (6, 20):
    for _stagger in STAGGERS:
        family(f"race of {_size}, sent {_stagger:g} s apart", "race")(
            partial(_fan_out, _size, _stagger, 0.01)
        )
        family(f"race of {_size}, answered {_stagger:g} s apart", "race")(
            partial(_fan_out, _size, 0.0, _stagger)
        )


@family("race that ends out of order", "race")
def out_of_order(rng: random.Random, surface: Surface) -> Steps:
    """Answer the last request first."""
    base = make_base(rng, surface.smallest_handbook)
    marks = {"marks": (-1, 0)} if surface.marked else {}
    for number in range(6):
        prompt = base.replace(turns=(user(corpus.make_paragraph(rng, 2)),), **marks)
        yield Step(
            prompt,
            _RACE if number else None,
            wait=0.02 if number else 0.0,
            lasts=4.0 - 0.4 * number,
            overlaps=number > 0,
        )


@family("race whose first call fails", "race", excuses=("concurrent_cold_race",))
def failed_first(rng: random.Random, surface: Surface) -> Steps:
    """Fail the first of six requests. The others still race with each other."""
    base = make_base(rng, surface.smallest_handbook)
    marks = {"marks": (-1, 0)} if surface.marked else {}
    for number in range(6):
        prompt = base.replace(turns=(user(corpus.make_paragraph(rng, 2)),), **marks)
        yield Step(
            prompt,
            _RACE if number > 1 else None,
            wait=0.02 if number else 0.0,
            lasts=3.0 + 0.1 * number,
            overlaps=number > 0,
            fails=529 if number == 0 else None,
        )
