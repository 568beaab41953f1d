from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from tests.frameworks import KEY, langchain

ChatGoogleGenerativeAI: Final[Any] = import_module("langchain_google_genai").ChatGoogleGenerativeAI


def gemini(url: str) -> Any:
    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", base_url=url, google_api_key=KEY, max_retries=1
    )


CASES: Final = langchain.make_cases(gemini)
FALLBACKS: Final = langchain.make_fallbacks(gemini)
