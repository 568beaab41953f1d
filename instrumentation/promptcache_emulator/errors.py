"""The exception that becomes an HTTP error of the emulated provider."""

from __future__ import annotations


class ProviderError(Exception):
    """The provider answers with an HTTP error of this status, message and error type."""

    def __init__(
        self, status: int, message: str, error_type: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.error_type = status, message, error_type
