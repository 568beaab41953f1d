"""Error bodies of the Anthropic API."""

from __future__ import annotations

from typing import Final

from promptcache_emulator.errors import ProviderError
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import JSONObject

_ERROR_TYPES: Final = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}

OVERLOADED_EVENT: Final[JSONObject] = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
}


def error_body(error: ProviderError) -> JSONObject:
    """Return the body of an HTTP error."""
    default = "api_error" if error.status >= 500 else "invalid_request_error"
    return {
        "type": "error",
        "error": {"type": _ERROR_TYPES.get(error.status, default), "message": error.message},
        "request_id": new_id("req_011"),
    }
