"""The error of the harness: a prompt that cannot be laid out."""

from __future__ import annotations

from typing import final


@final
class PromptError(ValueError):
    """Raised for a prompt that would be refused, or that would not serialise alike each time.

    The message begins with the path of the value, such as `tools[3].schema.enum`. It may quote
    names and types, never the text of a prompt.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
