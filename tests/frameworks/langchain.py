"""Calls that all chat models of LangChain share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.frameworks import QUESTION, SYSTEM, MakeCall

MakeModel = Callable[[str], Any]
"""Makes a chat model for the given URL, without retries of its own."""


def make_cases(make_model: MakeModel, system: Any = SYSTEM) -> Mapping[str, MakeCall]:
    messages = [("system", system), ("human", QUESTION)]

    def plain(url: str) -> None:
        make_model(url).invoke(messages)

    def streamed(url: str) -> None:
        list(make_model(url).stream(messages))

    async def awaited(url: str) -> None:
        await make_model(url).ainvoke(messages)

    async def streamed_async(url: str) -> None:
        [chunk async for chunk in make_model(url).astream(messages)]

    return {
        "plain": plain,
        "streamed": streamed,
        "awaited": awaited,
        "streamed, awaited": streamed_async,
    }


def make_fallbacks(make_model: MakeModel, system: Any = SYSTEM) -> Mapping[str, MakeCall]:
    def fallback(url: str) -> None:
        make_model(url).with_fallbacks([make_model(url)]).invoke(
            [("system", system), ("human", QUESTION)]
        )

    return {"fallback": fallback}
