"""The emulator's examples for JSON schemas: pydantic accepts them, or they are known not to fit."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import json
import uuid
from enum import Enum
from typing import Annotated, Any, Final, Literal

import pytest
from pydantic import BaseModel, Field, HttpUrl, Json, SecretStr, TypeAdapter

from promptcache_emulator.schema_examples import example_for_schema


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=9, max_length=10)


class Node(BaseModel):
    value: int
    left: Node | None
    right: Node | None = None
    children: list[Node] = []


TYPES: Final[tuple[Any, ...]] = (
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID),
    *(decimal.Decimal, ipaddress.IPv4Address, ipaddress.IPv6Network, HttpUrl, SecretStr, bytes),
    *(Color, Node, Annotated[Any, Json], bool | None, tuple[int, str], dict[str, int]),
    frozenset[int],
    Annotated[int, Field(gt=10, lt=12)],
    Annotated[int, Field(multiple_of=7, ge=50)],
    Annotated[int, Field(le=-3)],
    Annotated[float, Field(gt=0, lt=1)],
    Annotated[float, Field(lt=-3)],
    Annotated[float, Field(ge=2, multiple_of=0.5)],
    Annotated[list[int], Field(min_length=3)],
    Annotated[list[Color], Field(max_length=0)],
    Annotated[set[str], Field(min_length=2)],
    Annotated[set[Color], Field(min_length=2)],
    Annotated[dict[str, int], Field(min_length=1)],
    Annotated[str, Field(min_length=9, max_length=9)],
    Annotated[str, Field(max_length=2)],
    Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{4}$")],
    Annotated[Cat | Dog, Field(discriminator="kind")],
)


@pytest.mark.parametrize("wanted", TYPES, ids=str)
def test_pydantic_accepts_the_example(wanted: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(wanted)
    schema, unmet = adapter.json_schema(), list[str]()
    adapter.validate_json(json.dumps(example_for_schema(schema, schema, unmet)))
    assert not unmet


ONE: Final = {"const": True}


@pytest.mark.parametrize(
    ("schema", "unmet"),
    [
        ({"type": "string", "pattern": "^q{3}z{5}$"}, ["pattern"]),
        ({"type": "string", "pattern": "("}, ["pattern"]),
        ({"type": "string", "format": "isbn"}, ["format `isbn`"]),
        ({"type": "string", "format": "date", "maxLength": 3}, ["format `date`"]),
        ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, ["minimum"]),
        ({"type": "array", "items": ONE, "minItems": 2, "uniqueItems": True}, ["uniqueItems"]),
    ],
)
def test_a_keyword_that_may_not_be_met_is_named(schema: Any, unmet: list[str]) -> None:
    found: list[str] = []
    example_for_schema(schema, schema, found)
    assert found == unmet


def test_parts_of_all_of_are_one_schema() -> None:
    schema = {
        "$defs": {"Named": {"properties": {"name": {"type": "string"}}}},
        "allOf": [{"$ref": "#/$defs/Named"}, {"properties": {"age": {"type": "integer"}}}],
        "type": "object",
    }
    assert example_for_schema(schema, schema) == {"name": "text", "age": 1}


def test_a_schema_without_an_end_is_refused() -> None:
    schema = {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    with pytest.raises(RecursionError):
        example_for_schema(schema, schema)
