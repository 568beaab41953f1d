from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from tests.frameworks import KEY, MARKED, langchain

ChatAnthropic: Final[Any] = import_module("langchain_anthropic").ChatAnthropic


def messages(url: str) -> Any:
    return ChatAnthropic(model="claude-sonnet-4-5", base_url=url, api_key=KEY, max_retries=0)


CASES: Final = langchain.cases(messages, [MARKED])
FALLBACKS: Final = langchain.fallbacks(messages, [MARKED])
