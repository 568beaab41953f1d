"""The families of the exam. Importing this package registers them all."""

from tests.breaks.exam.families import (
    breakpoints,
    histories,
    images,
    neutral,
    parameters,
    serialization,
    systems,
    times,
    tools,
)

__all__ = [
    "breakpoints",
    "histories",
    "images",
    "neutral",
    "parameters",
    "serialization",
    "systems",
    "times",
    "tools",
]
