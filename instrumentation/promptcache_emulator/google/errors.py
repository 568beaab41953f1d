"""Error bodies of the Gemini API."""

from __future__ import annotations

from typing import Final

from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject

_STATUS_NAMES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}


def error_body(error: ProviderError) -> JSONObject:
    """Return the body of an HTTP error."""
    status = _STATUS_NAMES.get(error.status, "UNKNOWN")
    return {"error": {"code": error.status, "message": error.message, "status": status}}
