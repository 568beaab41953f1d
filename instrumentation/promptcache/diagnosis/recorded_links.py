"""Describe the prompt of a call for the local table, in O(new blocks).

A row holds the link of the longest prefix that an earlier row has, and the blocks behind it. So a
reader of the table rebuilds each prompt's whole chain. A row may leave the table after some time,
or never reach it. So a chain that began more than an hour ago is described from its first block
once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, final

from promptcache.diagnosis.memory import PastCallMemory, PrefixLink, PrefixNode
from promptcache.model import ParsedPrompt, Request
from promptcache.prefix.hashing import PromptDigests
from promptcache.prefix.link_text import LinkedBlock, PrefixLinks, format_links
from promptcache.prefix.links import LinkHasher, shorten_scope

MAX_CHAIN_AGE_SECONDS: Final = 3600.0
"""How old the oldest row is that a reader needs for a chain, at most."""


@final
class LinkRecorder:
    """Describe prompts, and remember on their nodes what the table has. The caller holds a lock."""

    __slots__ = ("_hasher",)

    def __init__(self, hasher: LinkHasher) -> None:
        self._hasher = hasher

    def describe(
        self,
        memory: PastCallMemory,
        request: Request,
        prompt: ParsedPrompt,
        chain: PromptDigests,
        new_nodes: Sequence[PrefixNode],
    ) -> str:
        """Return the text of the column `prefix_links` for a call whose last nodes are new."""
        known = self._known_link(memory, chain, len(chain.prefix_digests) - len(new_nodes), request)
        first = known.depth if known else 0
        blocks = tuple(self._link_blocks(memory, prompt, chain, new_nodes, known, request))
        nodes = memory.nodes
        marked: list[str] = []
        for depth in chain.breakpoint_depths:
            if depth > first:
                marked.append(blocks[depth - first - 1].link)
            elif (node := nodes.get(chain.prefix_digests[depth - 1])) and node.link:
                marked.append(node.link.text)
        links = PrefixLinks(
            self._hasher.key_id,
            shorten_scope(request.cache_scope),
            self._hasher.describe_params(prompt.params, chain.params_digest),
            known.text if known else "",
            first,
            blocks,
            tuple(marked),
        )
        return format_links(links)

    def _known_link(
        self, memory: PastCallMemory, chain: PromptDigests, depth: int, request: Request
    ) -> PrefixLink | None:
        """Return the link of the known blocks, unless the chain has to be described anew."""
        node = memory.nodes.get(chain.prefix_digests[depth - 1]) if depth else None
        link = node.link if node else None
        is_young = link and request.started_at - link.chain_began_at <= MAX_CHAIN_AGE_SECONDS
        return link if is_young else None

    def _link_blocks(
        self,
        memory: PastCallMemory,
        prompt: ParsedPrompt,
        chain: PromptDigests,
        new_nodes: Sequence[PrefixNode],
        known: PrefixLink | None,
        request: Request,
    ) -> Iterator[LinkedBlock]:
        """Yield each block behind `known`, and set the links of the nodes."""
        first, text = (known.depth, known.text) if known else (0, "")
        began_at = known.chain_began_at if known else request.started_at
        new_from = len(prompt.blocks) - len(new_nodes)
        for index in range(first, len(prompt.blocks)):
            block = prompt.blocks[index]
            node: PrefixNode | None
            if index >= new_from:
                node = new_nodes[index - new_from]
            else:
                node = memory.nodes.get(chain.prefix_digests[index])
            if node is not None and node.link is not None:
                text = node.link.text
            else:
                text = self._hasher.link_block(text, block.section, block.data)
            if node is not None:
                node.link = PrefixLink(text, index + 1, began_at)
            yield LinkedBlock(text, block.section, node.size if node else 1)
