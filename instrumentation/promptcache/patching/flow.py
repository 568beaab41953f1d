"""Flows: the code that runs around a step of the application's call.

A flow is a generator, as httpx's `auth_flow` is. It is written once, and
`promptcache.patching.wrapping` drives the same flow around plain functions, coroutine functions and
both kinds of generator functions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, final

from opentelemetry import context as otel
from opentelemetry.context import Context

from promptcache.common.safely import safely

P = ParamSpec("P")


@dataclass(slots=True)
class StepResult:
    """The result of one step, or the exception that it raised.

    A plain call is one step. A stream has one step to open it (without a result), one for each item
    and a final one. `is_final` is true when the stream is exhausted, failed or was abandoned;
    `is_abandoned` is true only for the last of these, which may happen in a finalizer.
    """

    result: Any = None
    error: BaseException | None = None
    is_final: bool = True
    is_abandoned: bool = False


Flow = Generator[Context | None, StepResult, None]
"""A generator that yields the context in which the next step runs (None: the current one) and
receives its `StepResult`. A flow around a stream yields again for each further step. It returns
when it needs no further step."""


def pass_through_flow() -> Flow:
    """Run one step unchanged and record nothing."""
    yield None


@final
class FlowRunner:
    """Run a flow around steps: `with FlowRunner(flow, ...) as runner: runner.result = call()`.

    It never raises an error of the flow, and never suppresses an error of the step.
    """

    __slots__ = ("_context", "_context_token", "_flow", "is_final", "result")

    def __init__(self, flow: Callable[P, Flow], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.result: Any = None
        self.is_final = True
        self._context_token: Token[Context] | None = None
        self._context: Context | None = None
        self._flow: Flow | None = None
        safely(self._start, flow, *args, **kwargs)

    def _start(self, flow: Callable[P, Flow], /, *args: P.args, **kwargs: P.kwargs) -> None:
        started = flow(*args, **kwargs)
        try:
            self._context = next(started)
        except StopIteration:
            return
        self._flow = started

    @property
    def is_active(self) -> bool:
        """Whether the flow waits for another step."""
        return self._flow is not None

    def __enter__(self) -> FlowRunner:
        if self._context is not None:
            self._context_token = safely(otel.attach, self._context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._context_token is not None:
            safely(self._detach, self._context_token)
            self._context_token = None
        flow, self._flow = self._flow, None
        if flow is not None:
            is_final = self.is_final or error is not None
            safely(self._send, flow, StepResult(self.result, error, is_final))

    def _detach(self, token: Token[Context]) -> None:
        # A coroutine that another task closes ends in that task's context, where our context was
        # never attached.
        if otel.get_current() is self._context:
            otel.detach(token)

    def abandon(self) -> None:
        """Tell the flow that the application gave up the stream, maybe in a finalizer."""
        flow, self._flow = self._flow, None
        if flow is not None:
            safely(self._send, flow, StepResult(is_abandoned=True))

    def _send(self, flow: Flow, result: StepResult) -> None:
        """Run the flow up to its next step."""
        try:
            self._context = flow.send(result)
        except StopIteration:
            return
        self._flow = flow
