"""Error bodies of the OpenAI API."""

from __future__ import annotations

from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject


def error_body(error: ProviderError) -> JSONObject:
    """Return the body of an HTTP error."""
    fields = {"message": error.message, "type": error.error_type, "param": None, "code": None}
    return {"error": fields}
