"""Keys that clients need to be constructed at all. No provider accepts them."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Final

PLACEHOLDER: Final = "promptcache-placeholder"

_KEYS: Final = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GROQ_API_KEY",
    "DEEPSEEK_API_KEY",
    "MISTRAL_API_KEY",
    "MOONSHOT_API_KEY",
    "OPENROUTER_API_KEY",
    "TOGETHER_API_KEY",
    "FIREWORKS_API_KEY",
    "CEREBRAS_API_KEY",
    "XAI_API_KEY",
)
_GOOGLE_KEYS: Final = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
"""The SDK warns if both are set."""
_AWS_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
_AWS_REGIONS: Final = ("AWS_DEFAULT_REGION", "AWS_REGION")


def set_placeholders(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set keys and a region where there are none. A value that exists is never changed."""
    for name in _KEYS:
        environ.setdefault(name, PLACEHOLDER)
    if not any(name in environ for name in _GOOGLE_KEYS):
        environ["GOOGLE_API_KEY"] = PLACEHOLDER
    if not any(name in environ for name in _AWS_CREDENTIALS):
        environ["AWS_ACCESS_KEY_ID"] = environ["AWS_SECRET_ACCESS_KEY"] = PLACEHOLDER
    if not any(name in environ for name in _AWS_REGIONS):
        environ["AWS_DEFAULT_REGION"] = "us-east-1"
