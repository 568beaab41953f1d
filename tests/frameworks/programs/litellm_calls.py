"""Calls of LiteLLM and of OpenAI's SDK to a gateway, LiteLLM's proxy."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

litellm: Final[Any] = import_module("litellm")
openai: Final[Any] = import_module("openai")
PROXY: Final = f"{os.environ['PROXY']}/v1"
KEY: Final = os.environ["LITELLM_MASTER_KEY"]
QUESTION: Final = [{"role": "user", "content": "Where is my tent?"}]


def ask() -> Any:
    client = openai.OpenAI(base_url=PROXY, api_key=KEY)
    return client.chat.completions.create(model="camp", messages=QUESTION)  # call


def stream() -> Any:
    client = openai.OpenAI(base_url=PROXY, api_key=KEY)
    usage = {"include_usage": True}
    answer = client.chat.completions.create(  # call
        model="camp", messages=QUESTION, stream=True, stream_options=usage
    )
    return list(answer)


async def ask_async() -> Any:
    return await litellm.acompletion(  # call
        model="openai/camp", messages=QUESTION, api_base=PROXY, api_key=KEY
    )


ask()
stream()
asyncio.run(ask_async())
