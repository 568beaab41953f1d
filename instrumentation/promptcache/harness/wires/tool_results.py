"""The results of tools that the next turn gives to the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, final

from promptcache.harness.names import Content


@final
class ToolResults(NamedTuple):
    """Results by the ids of their calls, the ids of failed calls, and the names of the tools."""

    contents: Mapping[str, Content]
    failed: Collection[str]
    names: Mapping[str, str]
