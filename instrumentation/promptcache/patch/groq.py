"""Groq's SDK: of the same generator as OpenAI's, with the same wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..providers import openai
from .drive import Target
from .stainless import SDK, Stainless

TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "groq._base_client": Stainless(SDK(openai.ROUTES, lambda client: "groq")).targets,
}
