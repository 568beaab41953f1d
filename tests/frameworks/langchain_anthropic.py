from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from tests.frameworks import CACHED_SYSTEM_BLOCK, KEY, langchain

ChatAnthropic: Final[Any] = import_module("langchain_anthropic").ChatAnthropic


def messages(url: str) -> Any:
    return ChatAnthropic(model="claude-sonnet-4-6", base_url=url, api_key=KEY, max_retries=0)


CASES: Final = langchain.make_cases(messages, [CACHED_SYSTEM_BLOCK])
FALLBACKS: Final = langchain.make_fallbacks(messages, [CACHED_SYSTEM_BLOCK])
