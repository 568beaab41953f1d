"""Every provider's rows, in one place. The next provider is its file and a line here."""

from __future__ import annotations

from itertools import chain
from typing import Final

from promptcache_emulator import (
    anthropic,
    bedrock,
    gemini,
    gemini_interactions,
    openai_chat,
    openai_responses,
)
from promptcache_emulator.wire import Route

_PROVIDER_MODULES: Final = (
    openai_chat,
    openai_responses,
    anthropic,
    gemini,
    gemini_interactions,
    bedrock,
)
ROUTES: Final[tuple[Route, ...]] = tuple(
    chain.from_iterable(provider.ROUTES for provider in _PROVIDER_MODULES)
)
