"""Groq's SDK: of the same generator as OpenAI's, with the same wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.patching.wrapping import Hook
from promptcache.providers.openai import wire as openai

HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "groq._base_client": StainlessHooks(StainlessSDK(openai.ROUTES, lambda client: "groq")).hooks,
}
