"""What the emulated model answers, where a test says so."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from promptcache.common.coerce import as_list
from promptcache_emulator import replies
from promptcache_testing.sent_request import SentRequest


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that the emulated model makes: the tool's name and its arguments."""

    name: str
    args: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """What a callable answer receives. `body` is the JSON of the request."""

    method: str
    url: str
    body: Any


Answer: TypeAlias = (
    "str | ToolCall | Sequence[ToolCall] | int | BaseException | Callable[[AnswerRequest], Answer]"
)
"""A text, a tool call, parallel tool calls, an HTTP status of at least 400, an exception to raise,
or a function that returns one of them."""


class AnswersExhaustedError(AssertionError):
    """There are more requests than answers."""


class SchemaAnswerError(AssertionError):
    """An invented answer may not fit the schema that the request asks for."""


class Answers:
    """The answers that are still to be given. None were given: the emulator invents them."""

    def __init__(self) -> None:
        self._remaining: deque[Answer] | None = None
        self.given_count = 0

    def set_answers(self, answers: Iterable[Answer]) -> None:
        """Add answers. From now on every request takes one."""
        self._remaining = deque([*(self._remaining or ()), *answers])

    def take_answer(self, sent: SentRequest) -> replies.Reply | int | None:
        """Return the reply or the HTTP status for this request; None if the emulator invents it.

        Raise the answer if it is an exception, and AnswersExhaustedError if none is left.
        """
        if self._remaining is None:
            return None
        if not self._remaining:
            raise AnswersExhaustedError(
                f"prompt_cache.answers had {self.given_count} answers; this request needs one more"
            )
        self.given_count += 1
        return _to_reply(self._remaining.popleft(), sent)


def _to_reply(answer: Answer, sent: SentRequest) -> replies.Reply | int:
    while callable(answer) and not isinstance(answer, type):
        answer = answer(AnswerRequest(sent.method, sent.url, _parse_json(sent.body)))
    if isinstance(answer, BaseException):
        raise answer
    if isinstance(answer, str):
        return replies.Reply(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 400 <= answer <= 599:
            raise TypeError(f"an HTTP status of an answer is 400 to 599, not {answer}")
        return answer
    calls = [answer] if isinstance(answer, ToolCall) else as_list(answer)
    if calls and all(isinstance(one, ToolCall) for one in calls):
        return replies.Reply(calls=tuple(replies.ToolCall(one.name, one.args) for one in calls))
    raise TypeError(
        "an answer is a str, a ToolCall, a list of them, a status, an exception or a function, "
        f"not {type(answer).__name__}"
    )


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body or b"null")
    except ValueError:
        return None
