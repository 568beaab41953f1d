"""The answers that are invented for a schema: the frameworks' own validation accepts them."""

from __future__ import annotations

import datetime
import enum
from importlib import import_module
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=6, max_length=8)


class Order(BaseModel):
    number: Annotated[str, Field(pattern=r"^\d{8}$")]
    placed: datetime.datetime
    color: Color
    pet: Cat | Dog
    replaces: Order | None = None
    weights: Annotated[list[float], Field(min_length=2)]


@pytest.mark.parametrize("mode", ["ToolOutput", "NativeOutput", "PromptedOutput"])
def test_pydantic_ai_accepts_the_output(prompt_cache: Any, mode: str) -> None:
    pydantic_ai: Any = import_module("pydantic_ai")
    if mode == "PromptedOutput":  # the schema is text there, so the test gives the answer
        order = '{"number": "12345678", "placed": "2026-01-31T12:30:00Z", "color": "red",'
        order += ' "pet": {"kind": "cat", "lives": 1}, "weights": [1, 2]}'
        prompt_cache.answers([order, order])
    output = getattr(pydantic_ai, mode)(Order)
    agent = pydantic_ai.Agent("openai-chat:gpt-4.1", output_type=output)
    for text in ("Order 12345678.", "The same again."):
        assert isinstance(agent.run_sync(text).output, Order)


def test_openai_parses_the_answer(prompt_cache: Any) -> None:
    client = import_module("openai").OpenAI()
    for text in ("Order 12345678.", "The same again."):
        given = client.responses.parse(model="gpt-5", input=text, text_format=Cat)
        assert isinstance(given.output_parsed, Cat)


@pytest.mark.promptcache(min_calls=0)
def test_langchain_accepts_the_output(prompt_cache: Any) -> None:
    model = import_module("langchain_openai").ChatOpenAI(model="gpt-4.1")
    for method in ("json_schema", "function_calling"):
        chain = model.with_structured_output(Cat, method=method)
        assert isinstance(chain.invoke("A cat."), Cat)
