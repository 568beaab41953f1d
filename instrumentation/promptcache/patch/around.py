"""What we do around a step of the application's: written once as a flow, whoever drives it and however often."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Token
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, ParamSpec, final

from opentelemetry import context as otel
from opentelemetry.context import Context

from promptcache import ambient
from promptcache.safety import safely

P = ParamSpec("P")


@dataclass(slots=True)
class Ended:
    """How a step of the application's ended: with a result, or with an exception.

    A plain call is one step. A stream takes one for opening it (without a result), one an item, and one that is its
    `last`: exhausted, failed, or `left` by the application; `busy` then says that no telemetry may be recorded here.
    """

    result: Any = None
    error: BaseException | None = None
    last: bool = True
    left: bool = False
    busy: bool = False


Flow = Generator[Context | None, Ended, None]
"""What we do around steps of the application's: yields the context that a step shall run in (None: as it is), is sent
how the step `Ended`. One that yields again wants the next step of a stream too."""


@final
class Around:
    """Runs a flow around steps: `with Around(flow, ...) as turn: turn.result = call()`. Never raises, never hides."""

    __slots__ = ("_context", "_flow", "_token", "last", "result")

    def __init__(self, flow: Callable[P, Flow], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.result: Any = None
        self.last = True
        self._token: Token[Context] | None = None
        self._context: Context | None = None
        self._flow = safely(flow, *args, **kwargs)
        self._go_on(None)

    @property
    def follows(self) -> bool:
        """Whether the flow wants another step."""
        return self._flow is not None

    def __enter__(self) -> Around:
        if self._context is not None:
            self._token = safely(otel.attach, self._context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._token is not None:
            safely(self._detach, self._token)
            self._token = None
        if self._flow is not None:
            self._go_on(Ended(self.result, error, self.last or error is not None))

    def _detach(self, token: Token[Context]) -> None:
        # A coroutine that is closed from elsewhere ends in another context, where there is nothing to take back.
        if otel.get_current() is self._context:
            otel.detach(token)

    def leave(self, frame: FrameType | None) -> None:
        """The application gave the stream up; `frame` is where it does, or where its finalizer runs."""
        if self._flow is not None:
            self._go_on(Ended(left=True, busy=safely(ambient.telemetry_runs, frame) is not False))

    def _go_on(self, ended: Ended | None) -> None:
        flow, self._flow = self._flow, None
        if flow is not None:
            safely(self._step, flow, ended)

    def _step(self, flow: Flow, ended: Ended | None) -> None:
        try:
            self._context = next(flow) if ended is None else flow.send(ended)
        except StopIteration:
            return
        self._flow = flow
