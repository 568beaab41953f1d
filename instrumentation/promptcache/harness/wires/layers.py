"""The frozen layers of a prompt, before a wire renders them."""

from __future__ import annotations

from typing import NamedTuple, final

from promptcache.harness.names import Block


@final
class FrozenLayers(NamedTuple):
    """What a `Prompt` and a chat's `shared` consist of, as plain data that nobody changes.

    `system` and `shared` hold texts and content blocks, `examples` pairs of question and answer.
    """

    tools: tuple[Block, ...]
    system: tuple[str | Block, ...]
    examples: tuple[tuple[str, str], ...]
    shared: tuple[str | Block, ...] = ()
