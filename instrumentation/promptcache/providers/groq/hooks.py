"""The hooks of Groq's SDK. Stainless generates it too, and its wire format is OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from promptcache.patching.hook import Hook
from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.providers.openai import wire

HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "groq._base_client": StainlessHooks(StainlessSDK(wire.ROUTES, lambda client: "groq")).hooks,
}
"""The hooks of each module of the SDK."""
