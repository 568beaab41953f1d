"""Breaks by images: re-encoded, signed, added and removed."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.breaks.exam.families.steps import change_always, make_conversation, plain
from tests.breaks.exam.prompts import Image, Prompt, Turn, make_image_data
from tests.breaks.exam.scenario import Label, Step, Steps, family, label, mark
from tests.breaks.exam.surfaces import Surface

_PLACES = frozenset({0, 1})


def _with_image(image: Image | None) -> Callable[[Prompt], Prompt]:
    """Show an image in the first message, or none."""
    shown = () if image is None else (image,)

    def change(prompt: Prompt) -> Prompt:
        return prompt.map_turn(0, lambda turn: Turn(turn.role, (*turn.parts, *shown)))

    return change


def _once(
    rng: random.Random, surface: Surface, old: Image | None, new: Image | None, truth: Label
) -> Steps:
    states = make_conversation(rng, surface, 9)
    at = rng.randint(3, 7)
    before, after = _with_image(old), _with_image(new)
    yield from plain(surface, [before(state) for state in states[:at]])
    yield Step(mark(surface, after(states[at])), truth, twin=mark(surface, before(states[at])))
    yield from plain(surface, [after(state) for state in states[at + 1 :]])


def _image_label(*reasons: str, hint: str = "") -> Label:
    hints = frozenset({hint} if hint else ())
    return label(*reasons, section="messages", indexes=_PLACES, hints=hints)


@family("image re-encoded")
def re_encoded(rng: random.Random, surface: Surface) -> Steps:
    """Load the image again from its file: the same picture in other bytes."""
    old, new = Image(make_image_data(rng)), Image(make_image_data(rng))
    return _once(rng, surface, old, new, _image_label("image_changed", hint="image_replaced"))


@family("image re-encoded on every call")
def always_re_encoded(rng: random.Random, surface: Surface) -> Steps:
    states = make_conversation(rng, surface, 6)
    images = [Image(make_image_data(rng)) for _ in states]
    return change_always(
        surface,
        states,
        lambda state, number: _with_image(images[number])(state),
        _image_label("image_changed", hint="image_replaced"),
    )


@family("image converted to JPEG")
def converted(rng: random.Random, surface: Surface) -> Steps:
    if surface.name == "converse":
        return iter(())
    old = Image(make_image_data(rng))
    new = Image(make_image_data(rng, 1800), media_type="image/jpeg")
    return _once(rng, surface, old, new, _image_label("image_changed", hint="image_replaced"))


@family("signed image URL")
def signed_url(rng: random.Random, surface: Surface) -> Steps:
    """Sign the URL of an image anew on every call."""
    if surface.name in {"converse", "invoke"}:
        return iter(())
    states = make_conversation(rng, surface, 7)
    names = ("X-Amz-Date=20261120T09", "X-Amz-Signature=")
    signatures = [f"{rng.getrandbits(256):064x}" for _ in states]

    def signed(state: Prompt, number: int) -> Prompt:
        query = f"{names[0]}{10 + number}00Z&{names[1]}{signatures[number]}"
        url = f"https://bucket.s3.example.com/uploads/IMG_2041.png?{query}"
        return _with_image(Image(url=url))(state)

    truth = _image_label("image_changed", "volatile_token")
    return change_always(surface, states, signed, truth)


@family("image added", simple=True)
def image_added(rng: random.Random, surface: Surface) -> Steps:
    truth = _image_label("image_changed", hint="image_added")
    return _once(rng, surface, None, Image(make_image_data(rng)), truth)


@family("image removed", simple=True)
def image_removed(rng: random.Random, surface: Surface) -> Steps:
    image = Image(make_image_data(rng))
    truth = label(
        "image_changed",
        section="messages",
        indexes=_PLACES,
        hints=frozenset({"image_removed"}),
        removes=True,
    )
    return _once(rng, surface, image, None, truth)


@family("first image in the newest message")
def first_image(rng: random.Random, surface: Surface) -> Steps:
    """Add the conversation's first image to the newest message.

    At Anthropic it invalidates the messages; elsewhere nothing is missed.
    """
    states = make_conversation(rng, surface, 10)
    at = next(n for n, s in enumerate(states) if n > 2 and s.turns[-1].role == "user")
    image = Image(make_image_data(rng))
    index = len(states[at].turns) - 1

    def show(prompt: Prompt) -> Prompt:
        return prompt.map_turn(index, lambda turn: Turn(turn.role, (*turn.parts, image)))

    yield from plain(surface, states[:at])
    truth = label("image_changed", section="messages")
    yield Step(mark(surface, show(states[at])), truth, twin=mark(surface, states[at]))
    yield from plain(surface, [show(state) for state in states[at + 1 :]])
