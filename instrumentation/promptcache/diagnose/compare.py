"""Two prompts side by side: where the later one departs from the earlier one, and what that looks like.

The earlier one is known by fingerprints alone. What is found is about structure only; whether it cost anything, the
usage decides elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, final

from promptcache.diagnose.hints import WEAK, look
from promptcache.grain import Deep, body, boxed, encoded, parted, similarity
from promptcache.memory import Node

ORDER: Final = {"tools": 0, "system": 1, "messages": 2}
_RELATED: Final = 0.5
"""How much of the static part two prompts must share to be versions of one program."""
_SPEAKING: Final = 192
"""A history counts as the same one from this many common bytes on, or from two common blocks on."""
FORM: Final = "form"
"""The hint of the same text in another wrapping, such as a string and one text part."""
_SLIGHT: Final = 32
"""How many bytes a value that merely changes may grow or shrink by."""


@final
@dataclass(slots=True)
class Difference:
    """How a prompt relates to an earlier one.

    `kind`: it `extends` it, was `shortened` to a part of it, is another `branch` from a common beginning, or there is
    a `break`: content that both have stands behind something that changed. `shared` counts the common leading
    blocks, `lost` the bytes that only the earlier prompt has, `fresh` those behind the change that only the present one
    has. `continues` says that both are one conversation, `weak`
    that the change alone does not tell an accident from another program. Filled in while two prompts are compared,
    and not changed after.
    """

    kind: Literal["extends", "shortened", "branch", "break"]
    shared: int
    cause: str | None = None
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None
    lost: int = 0
    fresh: int = 0
    continues: bool = True
    weak: bool = False

    def but(self, **found: Any) -> Difference:
        """Itself, with what was found; `replace` would take a third of the whole comparison."""
        for name, value in found.items():
            setattr(self, name, value)
        return self


@final
class Reader(NamedTuple):
    """What comparing needs beyond nodes: the present call's data by link, and the finer fingerprints by link."""

    data: Callable[[int], object]
    deep: Callable[[int], Deep | None]


def compare(new: Sequence[Node], old: Sequence[Node], reader: Reader) -> Difference:
    """How the prompt `new` relates to the earlier `old`; nodes of a common beginning are the same objects."""
    shared = 0
    for here, there in zip(new, old, strict=False):
        if here is not there:
            break
        shared += 1
    now, then = new[shared:], old[shared:]
    if not then:
        return Difference("extends", shared)
    if not now:
        return Difference("shortened", shared)
    section = min(now[0].section, then[0].section, key=ORDER.__getitem__)
    sides = (now, then) if section == "messages" else (new, old)
    found = (_history if section == "messages" else _static)(*sides, shared, reader)
    place = now[0] if now[0].section == section else then[0]
    return found.but(section=section, index=place.index)


# Tools and system


def _static(new: Sequence[Node], old: Sequence[Node], shared: int, reader: Reader) -> Difference:
    branch = Difference("branch", shared, continues=False)
    if not _related(new, old, reader):
        return branch
    section = min(new[shared].section, old[shared].section, key=ORDER.__getitem__)
    continues = _continues(new, old)
    here = [node for node in new[shared:] if node.section == section]
    there = [node for node in old[shared:] if node.section == section]
    both = {n.own for n in here} & {n.own for n in there}
    fresh, gone = ([n for n in side if n.own not in both] for side in (here, there))
    rest, past = ([n for n in side if n.section != section] for side in (new, old))
    found = branch.but(
        kind="break",
        cause=f"{section}_changed",
        continues=continues,
        weak=True,
        lost=_only(past, new) + _shrunk(fresh, gone),
        fresh=_only(rest, old),
    )
    if not (fresh or gone) and Counter(n.own for n in here) == Counter(n.own for n in there):
        cause = "tools_reordered" if section == "tools" else found.cause
        return found.but(cause=cause, hint="reordered", weak=False)
    if section == "tools" and _forms(here, reader) == _forms(there, reader):
        return found.but(
            cause="serialization_nondeterminism", hint="key_order", weak=False, offset=0
        )
    if len(here) != len(there):
        return found.but(hint="added" if len(here) > len(there) else "removed")
    return _inside(found, here[0], there[0], reader)


def _forms(nodes: Sequence[Node], reader: Reader) -> Counter[object]:
    known = ((node, reader.deep(node.link)) for node in nodes)
    return Counter(node.own if deep is None else deep.canonical for node, deep in known)


def _related(new: Sequence[Node], old: Sequence[Node], reader: Reader) -> bool:
    """Whether the static parts are two versions of one: at least half of the larger one is in both."""
    here = [node for node in new if node.section != "messages"]
    there = [node for node in old if node.section != "messages"]
    owns = {node.own for node in there}
    places = {(node.section, node.index): node for node in there}
    common = 0.0
    for node in here:
        if node.own in owns:
            common += node.size
        elif (other := places.get((node.section, node.index))) is not None:
            common += node.size * _alike(node, other, reader)
    larger = max(sum(n.size for n in here), sum(n.size for n in there))
    return larger > 0 and common >= _RELATED * larger


def _alike(node: Node, other: Node, reader: Reader) -> float:
    new, old = reader.deep(node.link), reader.deep(other.link)
    if new is None or old is None:
        start, _ = parted(node.grain, other.grain)
        return start / max(node.size, 1)
    if new.loose == old.loose:
        return 1.0
    return similarity(new, old, node.grain.size)


def _continues(new: Sequence[Node], old: Sequence[Node]) -> bool:
    """Whether the messages of both belong to one conversation."""
    owns = {node.own for node in old if node.section == "messages"}
    both = [node for node in new if node.section == "messages" and node.own in owns]
    return bool(both) and (len(both) > 1 or both[0].index == 0)


# Messages


def _history(now: Sequence[Node], then: Sequence[Node], shared: int, reader: Reader) -> Difference:
    inserted, removed = _meet(now, then)
    branch = Difference("branch", shared, continues=False)
    rewritten = Difference("break", shared, "history_rewritten")
    if inserted is None:
        start, _ = parted(now[0].grain, then[0].grain)
        if not _resembles(now[0], then[0], start):
            return branch
        if len(now) <= len(then) and 2 * start >= now[0].size and now[0].grain != then[0].grain:
            return branch  # another question that begins alike, whatever it departs in
        found = _measured(rewritten, now, then, 1, 1)
        if now[0].grain == then[0].grain and (hint := _image_hint(now[:2], then[:2])):
            return found.but(
                cause="image_changed", hint=hint
            )  # beside an image a string becomes a text part
        found = _inside(found, now[0], then[0], reader)
        early = 2 * (found.offset or 0) < now[0].size and found.cause == "volatile_token"
        return found if early or len(now) > len(then) else branch
    both = {node.own for node in now} & {node.own for node in then}
    kept = [node for node in then if node.own in both]
    if len(kept) < 2 and sum(node.size for node in kept) < _SPEAKING:
        return branch
    found = _measured(rewritten, now, then, inserted, removed)
    if hint := _image_hint(now[:inserted], then[:removed]):
        return found.but(cause="image_changed", hint=hint)
    if inserted == removed:
        return _inside(found, now[0], then[0], reader)
    if not inserted:
        return found.but(hint="truncated")
    return found.but(hint="compacted" if inserted < removed else "inserted")


def _meet(now: Sequence[Node], then: Sequence[Node]) -> tuple[int | None, int]:
    """How many blocks of both stand before the first common one; None where there is none."""
    first: dict[int, int] = {}
    for position, node in enumerate(then):
        first.setdefault(node.own, position)
    best: tuple[int, int] | None = None
    for position, node in enumerate(now):
        if best is not None and position >= sum(best):
            break
        if node.own in first and (best is None or position + first[node.own] < sum(best)):
            best = position, first[node.own]
    return best or (None, 0)


def _image_hint(now: Sequence[Node], then: Sequence[Node]) -> str | None:
    """What became of the images, where these blocks stand for those."""
    here, there = (sum("image" in node.kind for node in nodes) for nodes in (now, then))
    if here != there:
        return "image_added" if here > there else "image_removed"
    return "image_replaced" if here and len(now) == len(then) else None


def _resembles(node: Node, other: Node, start: int) -> bool:
    """Whether a message is the earlier one changed: they begin alike, up to `start`, or end alike."""
    alike = start >= _RELATED * min(node.size, other.size) and start > 0
    same = node.grain == other.grain
    return same or (node.kind == other.kind and (alike or node.grain.tail == other.grain.tail != 0))


# One block


def _inside(found: Difference, node: Node, other: Node, reader: Reader) -> Difference:
    """`found`, with what the change inside one block shows."""
    if node.grain == other.grain:
        return found.but(cause="serialization_nondeterminism", hint=FORM, weak=False, offset=0)
    text = body(reader.data(node.link))
    new, old = reader.deep(node.link), reader.deep(other.link)
    start, end = parted(node.grain, other.grain)
    step = end - start
    if new is not None and old is not None:
        form = _form(new, old)
        if new.step == old.step:
            start, end = boxed(new, old, node.grain.size)
            step = min(new.step, node.grain.size - start)
        if form is not None:
            where = None if form == "key_order" else start + step // 2
            return found.but(
                cause="serialization_nondeterminism", hint=form, weak=False, offset=where
            )
    found = found.but(offset=start + step // 2)
    raw = encoded(text)
    first, last = _characters(raw, start), _characters(raw, min(end, start + 2 * step))
    value = look(text, first, last, old.words if old else ())
    if value is None:
        return found
    hint, position = value
    slight = end - start <= 3 * step and abs(node.size - other.size) <= _SLIGHT and old is not None
    if hint in WEAK and not slight:
        return found
    offset = max(start, len(encoded(text[:position])))
    return found.but(cause="volatile_token", hint=hint, offset=offset, weak=hint in WEAK)


def _form(new: Deep, old: Deep) -> str | None:
    """What only the form of a block changed in, if it is only that."""
    if new.canonical == old.canonical:
        return "key_order"
    if new.bare == old.bare:
        return "whitespace"
    return "unicode" if new.loose == old.loose else None


def _characters(raw: bytes, end: int) -> int:
    return len(raw[:end].decode("utf-8", "ignore"))


def _measured(
    found: Difference, now: Sequence[Node], then: Sequence[Node], inserted: int, removed: int
) -> Difference:
    """`found`, with what came and went beside the `inserted` blocks that stand for the `removed` ones."""
    lost = _only(then[removed:], now) + _shrunk(now[:inserted], then[:removed])
    return found.but(lost=lost, fresh=_only(now[inserted:], then))


def _only(nodes: Sequence[Node], others: Sequence[Node]) -> int:
    """The bytes of those `nodes` that the `others` do not have."""
    owns = {node.own for node in others}
    return sum(node.size for node in nodes if node.own not in owns)


def _shrunk(fresh: Sequence[Node], gone: Sequence[Node]) -> int:
    """The bytes of `gone` that nothing stands for. A block that was changed in place still counts as had by both."""
    before, after = sum(node.size for node in gone), sum(node.size for node in fresh)
    return before if len(gone) > len(fresh) else max(0, before - after)
