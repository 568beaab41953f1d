"""Turn a response of any SDK into plain data, without consuming anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from promptcache.harness.json_guards import is_sequence
from promptcache.harness.prompt_error import PromptError


def to_plain_data(value: object, path: str) -> Any:
    """Return a response, an event or a usage as dicts and lists.

    SDK objects of openai, anthropic, groq, google-genai and litellm are pydantic models; botocore
    returns dicts. Raise PromptError for a live stream: only its reader may consume it.
    """
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if is_sequence(value):
        items = value
        return [to_plain_data(item, f"{path}[{index}]") for index, item in enumerate(items)]
    dump = getattr(value, "model_dump_json", None)
    if dump is not None:
        # The JSON text is what the wire had. Unset fields stay away, and so do the warnings that
        # pydantic gives for values which an SDK accepts without validation.
        return json.loads(dump(by_alias=True, exclude_none=True, warnings=False))
    if hasattr(value, "__next__") or hasattr(value, "__anext__") or hasattr(value, "__iter__"):
        raise PromptError(path, "is a live stream; give its final message or a list of its events")
    raise PromptError(path, f"is no response: {type(value).__name__}")
