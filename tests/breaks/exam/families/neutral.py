"""Traffic without a break. A reason that blames the application is false here."""

from __future__ import annotations

import random

from tests.breaks.exam import corpus
from tests.breaks.exam.families.steps import plain
from tests.breaks.exam.prompts import Prompt, assistant, continue_conversation, make_base, user
from tests.breaks.exam.scenario import Step, Steps, family, mark, mark_all
from tests.breaks.exam.surfaces import Surface

_SMALLEST = 2000


@family("= unbroken", "neutral")
def unbroken(rng: random.Random, surface: Surface) -> Steps:
    return plain(surface, continue_conversation(rng, make_base(rng, _SMALLEST), 12))


@family("= long agent loop", "neutral")
def agent_loop(rng: random.Random, surface: Surface) -> Steps:
    return plain(surface, continue_conversation(rng, make_base(rng, _SMALLEST, 8), 30), 1.0)


@family("= interleaved conversations", "neutral")
def interleaved(rng: random.Random, surface: Surface) -> Steps:
    """Interleave three conversations of one program; their calls overlap and end out of order."""
    base = make_base(rng, _SMALLEST)
    conversations = [mark_all(surface, continue_conversation(rng, base, 6)) for _ in range(3)]
    for states in zip(*conversations, strict=True):
        for number, state in enumerate(states):
            lasts = 4.0 - number
            yield Step(state, wait=5.0 if not number else 0.5, lasts=lasts, overlaps=number > 0)


@family("= two tenants", "neutral")
def tenants(rng: random.Random, surface: Surface) -> Steps:
    """One program, two API keys; both users begin alike, then ask something else."""
    base = make_base(rng, _SMALLEST)
    for greeting in ("Hello", "Hi, I have a question about my order."):
        for key in ("tenant-a", "tenant-b"):
            opened = base.replace(turns=(user(greeting), assistant("Hello! How can I help?")))
            states = [
                base.replace(turns=(user(greeting),)),
                *continue_conversation(rng, opened, 3),
            ]
            for state in mark_all(surface, states):
                yield Step(state, key=key)


@family("= A/B variants", "neutral")
def variants(rng: random.Random, surface: Surface) -> Steps:
    """Two prompts of one house style, with the same tools, for different users."""
    base = make_base(rng, _SMALLEST)
    chapters = base.system[0].split("\n\n## ")
    half = len(chapters) // 2 + 1
    other = "\n\n## ".join(
        [*chapters[:half], *(corpus.make_section(rng, 90 + n)[3:] for n in range(3))]
    )
    rivals = (base, base.replace(system=(other,)))
    for _ in range(3):
        for rival in rivals:
            yield from plain(surface, continue_conversation(rng, rival, 3))


@family("= A/B variants of another wording", "neutral")
def wordings(rng: random.Random, surface: Surface) -> Steps:
    """Variant B rewrites one chapter of A. Nobody's conversation moves from A to B."""
    base = make_base(rng, _SMALLEST)
    chapters = base.system[0].split("\n\n## ")
    at = rng.randrange(1, len(chapters))
    chapters[at] = corpus.make_section(rng, at)[3:]
    rivals = (base, base.replace(system=("\n\n## ".join(chapters),)))
    for _ in range(2):
        for rival in rivals:
            yield from plain(surface, continue_conversation(rng, rival, 3))


@family("= sub-agents", "neutral")
def sub_agents(rng: random.Random, surface: Surface) -> Steps:
    """Agents with the same handbook and tools, and different roles and orders."""
    base = make_base(rng, _SMALLEST)
    roles = (
        "You are the Researcher (v2). Gather facts, cite sources.",
        "You are the Writer (v3). Draft in British English, at most 120 words.",
    )
    for _ in range(3):
        for role in roles:
            agent = base.replace(system=(f"{base.system[0]}\n\n# Role\n{role}",))
            yield from plain(surface, continue_conversation(rng, agent, 2))


@family("= titles beside a conversation", "neutral")
def titles(rng: random.Random, surface: Surface) -> Steps:
    """Ask a small model for a title between the turns."""
    base = make_base(rng, _SMALLEST)
    naming = Prompt(("Give the conversation a title of at most 5 words.",), (), (), model=1)
    for state in continue_conversation(rng, base, 8):
        yield Step(mark(surface, state))
        yield Step(mark(surface, naming.replace(turns=state.turns[:1])))


@family("= branches", "neutral")
def branches(rng: random.Random, surface: Surface) -> Steps:
    """Continue one conversation in several ways, as an edited question does."""
    base = make_base(rng, _SMALLEST)
    states = mark_all(surface, continue_conversation(rng, base, 6))
    yield from (Step(state) for state in states)
    for _ in range(4):
        turns = (*states[-1].turns[:-1], user(corpus.make_paragraph(rng, 3)))
        yield Step(mark(surface, states[-1].replace(turns=turns)))


@family("= shortened", "neutral")
def shortened(rng: random.Random, surface: Surface) -> Steps:
    """Go back to an earlier point and continue there, then begin anew."""
    base = make_base(rng, _SMALLEST)
    states = continue_conversation(rng, base, 8)
    again = continue_conversation(rng, base.replace(turns=states[3].turns[:-1]), 3)
    yield from plain(surface, [*states, states[3], *again, *continue_conversation(rng, base, 3)])


@family("= regenerated answer", "neutral")
def regenerated(rng: random.Random, surface: Surface) -> Steps:
    """Send the same request again, as a user does who dislikes the answer."""
    for state in mark_all(surface, continue_conversation(rng, make_base(rng, _SMALLEST), 4)):
        yield Step(state)
        yield Step(state)


@family("= questions over documents", "neutral")
def documents(rng: random.Random, surface: Surface) -> Steps:
    """Ask each question over its own chunks, behind a static prompt."""
    base = make_base(rng, _SMALLEST, 0)
    for _ in range(8):
        chunks = "\n\n".join(corpus.make_chunk(rng) for _ in range(5))
        turns = (user(f"{chunks}\n\nQuestion: {corpus.make_english_sentence(rng)}"),)
        yield Step(mark(surface, base.replace(turns=turns)))


@family("= dated questions", "neutral")
def dated_questions(rng: random.Random, surface: Surface) -> Steps:
    """Render the date and an id into the newest message only, where it costs nothing."""
    base = make_base(rng, _SMALLEST)
    for state in continue_conversation(rng, base, 6):
        stamp = user(f"[{corpus.make_date(rng)}, request {rng.getrandbits(64):016x}] Go on.")
        yield Step(mark(surface, state.replace(turns=(*state.turns[:-1], stamp))))


@family("= ensemble of models", "neutral")
def ensemble(rng: random.Random, surface: Surface) -> Steps:
    """Ask two models the same questions, as an evaluation does."""
    base = make_base(rng, _SMALLEST)
    for _ in range(5):
        asked = mark(surface, base.replace(turns=(user(corpus.make_paragraph(rng, 2)),)))
        yield Step(asked)
        yield Step(asked.replace(model=1))


@family("= other model with a warm cache", "neutral")
def warm_model(rng: random.Random, surface: Surface) -> Steps:
    """Move a conversation to a model whose cache another process has filled."""
    base = make_base(rng, surface.smallest_base)
    states = mark_all(surface, continue_conversation(rng, base, 6))
    yield from (Step(state) for state in states[:3])
    yield Step(states[3].replace(model=1), unseen=True)
    for state in states[3:]:
        yield Step(state.replace(model=1))


@family("= failures and retries", "neutral")
def failures(rng: random.Random, surface: Surface) -> Steps:
    """Fail every third call once, and send it again."""
    base = make_base(rng, _SMALLEST)
    for number, state in enumerate(mark_all(surface, continue_conversation(rng, base, 8))):
        if number % 3 == 1:
            yield Step(state, fails=rng.choice((429, 500, 529)), lasts=0.3)
        yield Step(state)


@family("= warm fan-out", "neutral")
def warm_fan_out(rng: random.Random, surface: Surface) -> Steps:
    """Fan out over a prompt that is in the cache."""
    base = make_base(rng, _SMALLEST)
    marks = {"marks": (-1, 0)} if surface.marked else {}
    for number in range(9):
        question = user(corpus.make_paragraph(rng, 2))
        lasts = 2.0 if not number else 1.0 + rng.random() * 2
        yield Step(
            base.replace(turns=(question,), **marks),
            wait=0.1 if number > 1 else 5.0,
            lasts=lasts,
            overlaps=number > 1,
        )


@family("= two programs with the same tools", "neutral")
def programs(rng: random.Random, surface: Surface) -> Steps:
    base = make_base(rng, _SMALLEST)
    other = base.replace(system=make_base(rng, _SMALLEST, 0).system)
    for program in (base, other, base, other):
        yield from plain(surface, continue_conversation(rng, program, 3))
