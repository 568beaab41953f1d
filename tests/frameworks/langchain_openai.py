from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from tests.frameworks import KEY, langchain

ChatOpenAI: Final[Any] = import_module("langchain_openai").ChatOpenAI


def chat(url: str) -> Any:
    return ChatOpenAI(
        model="gpt-4o-mini", base_url=f"{url}/v1", api_key=KEY, max_retries=0, stream_usage=True
    )


def responses(url: str) -> Any:
    return ChatOpenAI(
        model="gpt-4o-mini",
        base_url=f"{url}/v1",
        api_key=KEY,
        max_retries=0,
        use_responses_api=True,
    )


CASES: Final = {
    f"{make.__name__} {name}": ask
    for make in (chat, responses)
    for name, ask in langchain.make_cases(make).items()
}
FALLBACKS: Final = langchain.make_fallbacks(chat)
