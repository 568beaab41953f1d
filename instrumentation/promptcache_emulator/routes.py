"""The routes of all providers. A new provider adds its modules here."""

from __future__ import annotations

from itertools import chain
from typing import Final

from promptcache_emulator.anthropic import batches as message_batches
from promptcache_emulator.anthropic import messages
from promptcache_emulator.bedrock import converse, invoke
from promptcache_emulator.google import batches as content_batches
from promptcache_emulator.google import cached_contents, generate_content, interactions
from promptcache_emulator.openai import batches, chat, responses
from promptcache_emulator.routing import Route

_PROVIDER_MODULES: Final = (
    chat,
    responses,
    messages,
    message_batches,
    batches,
    generate_content,
    content_batches,
    cached_contents,
    interactions,
    converse,
    invoke,
)
ROUTES: Final[tuple[Route, ...]] = tuple(
    chain.from_iterable(module.ROUTES for module in _PROVIDER_MODULES)
)
