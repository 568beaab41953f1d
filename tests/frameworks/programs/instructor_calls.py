"""Calls of instructor."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

from pydantic import BaseModel

instructor: Final[Any] = import_module("instructor")
openai: Final[Any] = import_module("openai")
CLIENT: Final = {"base_url": f"{os.environ['EMULATOR']}/v1", "api_key": "k"}


class Tent(BaseModel):
    place: str


QUESTION: Final = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Where is my tent?"}],
    "response_model": Tent,
}


def ask() -> Any:
    client = instructor.from_openai(openai.OpenAI(**CLIENT))
    return client.chat.completions.create(**QUESTION)  # call


def ask_stream() -> None:
    client = instructor.from_openai(openai.OpenAI(**CLIENT))
    for _ in client.chat.completions.create_partial(**QUESTION):  # call
        pass


async def ask_async() -> Any:
    client = instructor.from_openai(openai.AsyncOpenAI(**CLIENT))
    return await client.chat.completions.create(**QUESTION)  # call


async def ask_other() -> Any:
    client = instructor.from_openai(openai.AsyncOpenAI(**CLIENT))
    return await client.chat.completions.create(**QUESTION)  # call


async def main() -> None:
    await asyncio.gather(ask_async(), ask_other())


ask()
ask_stream()
asyncio.run(main())
