"""Bounds on what a request may ask for, so that no request exhausts time or memory."""

from __future__ import annotations

import math
from typing import Any, Final

MAX_BODY_BYTES: Final = 32 << 20
"""Anthropic refuses larger bodies with 413 (API overview, "Request size limits")."""
MAX_CHOICES: Final = 128
"""OpenAI's limit of `n` (API reference, "Create chat completion")."""
MAX_WORDS: Final = 10_000
"""Words of one reply, over all choices."""
MAX_DELAY_SECONDS: Final = 600.0
MAX_FACTOR: Final = 1e9
"""Of seconds and factors in a rule."""
MAX_MODEL_LENGTH: Final = 2048
"""The longest model id of Bedrock (API reference, "InvokeModel")."""


def bounded_int(value: Any, name: str, lowest: int, highest: int) -> int:
    """Return `value` as an integer. Raise ValueError if it is none, or out of bounds."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: expected a whole number") from error
    if not lowest <= number <= highest:
        raise ValueError(f"{name}: expected a number from {lowest} to {highest}")
    return number


def bounded_float(value: Any, name: str, lowest: float, highest: float) -> float:
    """Return `value` as a finite number. Raise ValueError if it is none, or out of bounds."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: expected a number") from error
    if not (math.isfinite(number) and lowest <= number <= highest):
        raise ValueError(f"{name}: expected a number from {lowest:g} to {highest:g}")
    return number
