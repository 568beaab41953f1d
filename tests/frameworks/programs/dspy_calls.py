"""Calls of dspy through LiteLLM. The engine that it prefers sends requests by itself."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

dspy: Final[Any] = import_module("dspy")
dspy.configure(
    lm=dspy.LM(
        "openai/gpt-4o-mini",
        api_base=f"{os.environ['EMULATOR']}/v1",
        api_key="k",
        cache=False,
        engine="litellm",
    ),
    adapter=dspy.JSONAdapter(),
)
PREDICT: Final = dspy.Predict("question -> answer")


def ask() -> Any:
    return PREDICT(question="Where is my tent?")  # call


async def ask_async() -> Any:
    return await PREDICT.acall(question="Where is my tent?")  # call


def ask_in_threads() -> Any:
    questions = [dspy.Example(question=name).with_inputs("question") for name in ("tent", "boat")]
    return dspy.Parallel(num_threads=2)([(PREDICT, one) for one in questions])  # call


async def stream() -> None:
    async for _ in dspy.streamify(PREDICT)(question="Where is my tent?"):  # call
        pass


ask()
asyncio.run(ask_async())
ask_in_threads()
asyncio.run(stream())
