"""The prompts of the harness in this process, to recognise them in requests.

A request is made by the provider's SDK, which knows no names of prompts. So a prompt is recognised
by its texts: those of its tools and its system prompt stand in the request, each unchanged. Hashes
of texts are kept, no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple, final

from promptcache.common.bounded_dict import BoundedDict
from promptcache.common.coerce import as_list, as_mapping

if TYPE_CHECKING:
    from promptcache.model import ParsedPrompt

_MAX_PROMPTS: Final = 64
_MAX_DEPTH: Final = 32
_STATIC_SECTIONS: Final = ("tools", "system")


@final
class KnownPrompt(NamedTuple):
    """Name and version of a prompt, and hashes of its texts."""

    name: str
    version: str
    static_texts: frozenset[int]
    example_texts: frozenset[int]

    def layer_of(self, prompt: ParsedPrompt, section: str | None, index: int | None) -> str | None:
        """Return the layer of a block: `static`, `shared` or `history`; None if there is none."""
        if index is None or section not in (*_STATIC_SECTIONS, "messages"):
            return None
        place = section, index
        block = next((one for one in prompt.blocks if (one.section, one.index) == place), None)
        texts = _hashes_of_texts(block and block.data)
        if not texts:
            return None
        if section == "messages":
            is_example = texts <= self.example_texts | _hashes_of_texts(_ROLES)
            return "static" if is_example else "history"
        is_static = section == "tools" or not texts.isdisjoint(self.static_texts)
        return "static" if is_static else "shared"


_ROLES: Final = ("user", "assistant", "model", "text", "message", "input_text", "output_text")
_known: BoundedDict[tuple[str, str], KnownPrompt] = BoundedDict(_MAX_PROMPTS)


def forget_prompts() -> None:
    """Forget all prompts, as in a new process."""
    _known.clear()


def remember_prompt(name: str, version: str, static: object, examples: object) -> None:
    """Remember a prompt by the texts of its tools and system prompt, and of its examples.

    Of more than 64 the oldest is forgotten. A prompt without texts cannot be recognised.
    """
    texts = _hashes_of_texts(static)
    if texts:
        _known[name, version] = KnownPrompt(name, version, texts, _hashes_of_texts(examples))


def find_known_prompt(prompt: ParsedPrompt) -> KnownPrompt | None:
    """Return the prompt whose texts all stand in a request.

    Of several it is the one with the most texts. None if two have equally many.
    """
    if not _known:
        return None
    # The blocks of the messages are not read: a conversation may have thousands.
    static_blocks = takewhile(lambda block: block.section in _STATIC_SECTIONS, prompt.blocks)
    static = _hashes_of_texts([block.data for block in static_blocks])
    found = [one for one in list(_known.values()) if one.static_texts <= static]
    if any(one.example_texts for one in found):
        messages = [block.data for block in prompt.blocks if block.section == "messages"]
        texts = _hashes_of_texts(messages)
        found = [one for one in found if one.example_texts <= texts]
    found.sort(key=_count_texts, reverse=True)
    if len(found) > 1 and _count_texts(found[0]) == _count_texts(found[1]):
        return None
    return found[0] if found else None


def _count_texts(known: KnownPrompt) -> int:
    return len(known.static_texts) + len(known.example_texts)


def _hashes_of_texts(data: object) -> frozenset[int]:
    # The hash of `str` itself: a subclass of the application's may have one that raises.
    return frozenset(map(str.__hash__, _texts_of(data, _MAX_DEPTH)))


def _texts_of(data: object, depth: int) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif depth:
        values = as_mapping(data).values() or as_list(data)
        for value in values:
            yield from _texts_of(value, depth - 1)
