"""What we do around a step of the application's: written once as a flow, whoever drives it and however often."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Token
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, ParamSpec, final

from opentelemetry import context as otel
from opentelemetry.context import Context

from promptcache.common.safely import safely
from promptcache.telemetry import context_attributes as ambient

P = ParamSpec("P")


@dataclass(slots=True)
class StepResult:
    """How a step of the application's ended: with a result, or with an exception.

    A plain call is one step. A stream takes one for opening it (without a result), one an item, and one that is its
    `is_final`: exhausted, failed, or `is_abandoned` by the application; `must_defer` then says that no telemetry may be recorded here.
    """

    result: Any = None
    error: BaseException | None = None
    is_final: bool = True
    is_abandoned: bool = False
    must_defer: bool = False


Flow = Generator[Context | None, StepResult, None]
"""What we do around steps of the application's: yields the context that a step shall run in (None: as it is), is sent
how the step `StepResult`. One that yields again wants the next step of a stream too."""


@final
class FlowRunner:
    """Runs a flow around steps: `with Around(flow, ...) as turn: turn.result = call()`. Never raises, never hides."""

    __slots__ = ("_context", "_context_token", "_flow", "is_final", "result")

    def __init__(self, flow: Callable[P, Flow], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.result: Any = None
        self.is_final = True
        self._context_token: Token[Context] | None = None
        self._context: Context | None = None
        self._flow = safely(flow, *args, **kwargs)
        self._advance(None)

    @property
    def is_active(self) -> bool:
        """Whether the flow wants another step."""
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
        if self._flow is not None:
            self._advance(StepResult(self.result, error, self.is_final or error is not None))

    def _detach(self, token: Token[Context]) -> None:
        # A coroutine that is closed from elsewhere ends in another context, where there is nothing to take back.
        if otel.get_current() is self._context:
            otel.detach(token)

    def abandon(self, frame: FrameType | None) -> None:
        """The application gave the stream up; `frame` is where it does, or where its finalizer runs."""
        if self._flow is not None:
            self._advance(
                StepResult(
                    is_abandoned=True,
                    must_defer=safely(ambient.lock_may_be_held, frame) is not False,
                )
            )

    def _advance(self, result: StepResult | None) -> None:
        flow, self._flow = self._flow, None
        if flow is not None:
            safely(self._send, flow, result)

    def _send(self, flow: Flow, result: StepResult | None) -> None:
        try:
            self._context = next(flow) if result is None else flow.send(result)
        except StopIteration:
            return
        self._flow = flow
