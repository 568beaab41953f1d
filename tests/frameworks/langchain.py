"""What all of LangChain's chat models share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.frameworks import QUESTION, SYSTEM, Ask

Make = Callable[[str], Any]
"""Makes the model that asks at an address, and that does not ask twice by itself."""


def cases(make: Make, system: Any = SYSTEM) -> Mapping[str, Ask]:
    messages = [("system", system), ("human", QUESTION)]

    def plain(url: str) -> None:
        make(url).invoke(messages)

    def streamed(url: str) -> None:
        list(make(url).stream(messages))

    async def awaited(url: str) -> None:
        await make(url).ainvoke(messages)

    async def streamed_async(url: str) -> None:
        [chunk async for chunk in make(url).astream(messages)]

    return {
        "plain": plain,
        "streamed": streamed,
        "awaited": awaited,
        "streamed, awaited": streamed_async,
    }


def fallbacks(make: Make, system: Any = SYSTEM) -> Mapping[str, Ask]:
    def fallback(url: str) -> None:
        make(url).with_fallbacks([make(url)]).invoke([("system", system), ("human", QUESTION)])

    return {"fallback": fallback}
