"""What a row of the local table needs of a span, whether the SDK or a file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.trace import SpanContext


class RecordedResource(Protocol):
    """The resource of a span."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes by name."""
        ...


class RecordedSpan(Protocol):
    """An ended span. OpenTelemetry's `ReadableSpan` is one. Times are epoch nanoseconds."""

    @property
    def attributes(self) -> Mapping[str, Any] | None:
        """The attributes by name."""
        ...

    @property
    def resource(self) -> RecordedResource:
        """The resource, which names the service."""
        ...

    @property
    def context(self) -> SpanContext | None:
        """The ids and the trace state."""
        ...

    @property
    def parent(self) -> SpanContext | None:
        """The ids of the parent."""
        ...

    @property
    def start_time(self) -> int | None:
        """The start."""
        ...

    @property
    def end_time(self) -> int | None:
        """The end."""
        ...


@dataclass(frozen=True, slots=True)
class LinkedSpan:
    """A `RecordedSpan` with the links of its call, which no other exporter gets."""

    span: RecordedSpan
    prefix_links: str

    @property
    def attributes(self) -> Mapping[str, Any] | None:
        """The attributes by name."""
        return self.span.attributes

    @property
    def resource(self) -> RecordedResource:
        """The resource, which names the service."""
        return self.span.resource

    @property
    def context(self) -> SpanContext | None:
        """The ids and the trace state."""
        return self.span.context

    @property
    def parent(self) -> SpanContext | None:
        """The ids of the parent."""
        return self.span.parent

    @property
    def start_time(self) -> int | None:
        """The start."""
        return self.span.start_time

    @property
    def end_time(self) -> int | None:
        """The end."""
        return self.span.end_time


@dataclass(frozen=True, slots=True)
class PlainResource:
    """A `RecordedResource` that the SDK did not make."""

    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlainSpan:
    """A `RecordedSpan` that the SDK did not make.

    default_sample_ratio: the sample ratio if the trace state has none; None is unknown.
    """

    attributes: Mapping[str, Any]
    resource: RecordedResource
    context: SpanContext | None
    parent: SpanContext | None
    start_time: int | None
    end_time: int | None
    default_sample_ratio: float | None
