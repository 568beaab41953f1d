"""Error bodies of the Bedrock runtime."""

from __future__ import annotations

from typing import Final

from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject

_EXCEPTION_TYPES: Final = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ModelNotReadyException",
}

THROTTLING_EVENT: Final[JSONObject] = {
    "throttlingException": {
        "message": "Too many requests, please wait before trying again.",
    }
}


def error_body(error: ProviderError) -> JSONObject:
    """Return the body of an HTTP error."""
    exception_type = _EXCEPTION_TYPES.get(error.status, "ValidationException")
    return {"__type": exception_type, "message": error.message}
