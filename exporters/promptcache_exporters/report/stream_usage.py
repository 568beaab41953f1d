"""How to make a stream of Chat Completions report its tokens: the setting of each framework."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

OPTION: Final = "stream_options={'include_usage': True}"
"""The parameter of the request. Frameworks that pass parameters on take it too."""

SETTINGS_OF_FRAMEWORKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "LangChain": "stream_usage=True",
        "OpenAI Agents": "ModelSettings(include_usage=True)",
        "LlamaIndex": "additional_kwargs={'stream_options': {'include_usage': True}}",
        "dspy": "dspy.configure(track_usage=True)",
        "aider": "extra_params in .aider.model.settings.yml",
        "LiteLLM's proxy": "always_include_stream_usage: true",
    }
)
"""Frameworks with a setting of their own. docs/applications.md has the sources."""


def stream_usage_advice() -> str:
    """Return the sentences that name the option and the setting of each framework."""
    settings = "; ".join(f"{name}: {setting}" for name, setting in SETTINGS_OF_FRAMEWORKS.items())
    return f"Set {OPTION}. In a framework it may have another name: {settings}."
