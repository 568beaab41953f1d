"""Tell whether an event in the middle of a stream is parsed."""

from __future__ import annotations

import json
from typing import Any

from promptcache.providers.wire_format import WireFormat


def is_relevant(wire_format: WireFormat, event: Any) -> bool:
    """Return whether `event` is parsed, however its server spaces the JSON."""
    spellings = (json.dumps(event), json.dumps(event, separators=(",", ":")))
    answers = {bool(wire_format.relevant_bytes.search(text.encode())) for text in spellings}
    assert len(answers) == 1, "the spacing must not matter"
    return answers.pop()
