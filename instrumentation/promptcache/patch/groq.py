"""Groq's SDK: of the same generator as OpenAI's, with the same wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from promptcache.patch.drive import Target
from promptcache.patch.stainless import SDK, Stainless
from promptcache.providers import openai

TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "groq._base_client": Stainless(SDK(openai.ROUTES, lambda client: "groq")).targets,
}
