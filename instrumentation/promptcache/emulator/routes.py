"""Every provider's rows, in one place. The next provider is its file and a line here."""

from __future__ import annotations

from typing import Final

from . import anthropic, openai_chat, openai_responses
from .wire import Route

ROUTES: Final[tuple[Route, ...]] = (*openai_chat.ROUTES, *openai_responses.ROUTES, *anthropic.ROUTES)
