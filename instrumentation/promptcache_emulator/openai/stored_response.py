"""What the server stores of a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.prompt_layout import PromptLayout


@dataclass(slots=True)
class StoredResponse:
    """The input items, the finished response, its stream events, and the data for a diagnosis.

    `polls_until_done` is the number of GET requests that a background response needs to complete.
    """

    items: list[Any]
    response: JSONObject
    events: list[JSONObject]
    prompt: PromptLayout
    salts: dict[str, str]
    polls_until_done: int = 0
