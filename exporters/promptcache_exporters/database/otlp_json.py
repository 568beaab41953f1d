"""Read the spans of a file that the file exporter of the OpenTelemetry Collector wrote.

Each line is one message in the JSON encoding of OTLP (opentelemetry-proto, "JSON Protobuf
Encoding"): ids are hex digits, and whole numbers of 64 bits are texts. A file is read line by line,
so that its size does not matter. What cannot be read is counted and left out.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from promptcache.common.coerce import JSONObject, as_list, as_mapping
from promptcache_exporters.database.errors import InvalidCallsFileError
from promptcache_exporters.database.recorded_span import PlainResource, PlainSpan

MAX_LINE_BYTES: Final = 256_000_000
"""The Collector writes a batch of spans as one line. A line that is longer is a bad line."""
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_END_OF_TIME: Final = 2**63
"""Nanoseconds."""


@dataclass(slots=True)
class ReadCounts:
    """What was read of a file, and what could not be read."""

    lines: int = 0
    bad_lines: int = 0
    spans: int = 0
    bad_spans: int = 0


def read_otlp_json_spans(
    path: Path, counts: ReadCounts, default_sample_ratio: float | None = None
) -> Iterator[PlainSpan]:
    """Yield the spans of the file at `path`, plain or gzip, and count them in `counts`.

    `default_sample_ratio` is that of the spans whose trace state has none; None is unknown.

    Raises `InvalidCallsFileError` for another format, and OSError.
    """
    with _open_binary(path) as file:
        for line in _read_lines(file, counts):
            for span, resource in _spans_of_line(line, counts):
                try:
                    yield _parse_span(span, resource, default_sample_ratio)
                except (ValueError, TypeError, KeyError):
                    counts.bad_spans += 1
                else:
                    counts.spans += 1


def _open_binary(path: Path) -> BufferedIOBase:
    """Open the file at its beginning. Raises `InvalidCallsFileError` for a format with lengths."""
    with path.open("rb") as file:
        start = file.read(8)
    if start[:2] == _GZIP_MAGIC:
        return gzip.open(path, "rb")
    if start[4:8] == _ZSTD_MAGIC or start[:4] == _ZSTD_MAGIC:
        raise InvalidCallsFileError(
            f"{path} is compressed by the Collector's file exporter (compression: zstd), which"
            " writes a length before each message. Export without compression, or with gzip."
        )
    if start and start.lstrip()[:1] != b"{":
        raise InvalidCallsFileError(
            f"{path} has no OTLP JSON. The Collector's file exporter writes it with format: json."
        )
    return path.open("rb")


def _read_lines(file: BufferedIOBase, counts: ReadCounts) -> Iterator[bytes]:
    """Yield the lines that are not empty. Of a file that is cut off, yield the whole lines."""
    try:
        while line := file.readline(MAX_LINE_BYTES):
            counts.lines += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                counts.bad_lines += 1
                _skip_rest_of_line(file)
            elif line.strip():
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error):  # perhaps it is still being written
        counts.bad_lines += 1


def _skip_rest_of_line(file: BufferedIOBase) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def _spans_of_line(line: bytes, counts: ReadCounts) -> Iterator[tuple[JSONObject, PlainResource]]:
    """Yield the spans of a message with their resources. Messages of other signals have none."""
    message: JSONObject = {}
    with suppress(ValueError, RecursionError):
        message = as_mapping(json.loads(line))
    if not message:
        counts.bad_lines += 1
    for group in as_list(message.get("resourceSpans")):
        attributes = as_mapping(as_mapping(group).get("resource")).get("attributes")
        resource = PlainResource(_parse_attributes(attributes))
        for scope in as_list(as_mapping(group).get("scopeSpans")):
            for span in as_list(as_mapping(scope).get("spans")):
                yield as_mapping(span), resource


def _parse_span(
    span: JSONObject, resource: PlainResource, default_sample_ratio: float | None
) -> PlainSpan:
    """Return a span. Raises ValueError or TypeError for ids and times that OTLP does not allow."""
    trace_id, state = int(span["traceId"], 16), TraceState.from_header([span.get("traceState", "")])
    context = SpanContext(trace_id, int(span["spanId"], 16), True, TraceFlags(1), state)
    if not context.is_valid:
        raise ValueError("an id is zero or too long")
    parent = span.get("parentSpanId")
    return PlainSpan(
        attributes=_parse_attributes(span.get("attributes")),
        resource=resource,
        context=context,
        parent=SpanContext(trace_id, int(parent, 16), True) if parent else None,
        start_time=_parse_time(span["startTimeUnixNano"]),
        end_time=_parse_time(span.get("endTimeUnixNano")),
        default_sample_ratio=default_sample_ratio,
    )


def _parse_time(nanoseconds: object) -> int | None:
    if nanoseconds is None:
        return None
    time = int(str(nanoseconds))
    if not 0 <= time < _END_OF_TIME:
        raise ValueError("a time is no number of 64 bits")
    return time


def _parse_attributes(attributes: object) -> dict[str, Any]:
    """Return attributes by name. A value that cannot be read is left out."""
    parsed: dict[str, Any] = {}
    for attribute in map(as_mapping, as_list(attributes)):
        name = attribute.get("key")
        with suppress(ValueError, TypeError):
            value = _parse_value(as_mapping(attribute.get("value")))
            if isinstance(name, str) and value is not None:
                parsed[name] = value
    return parsed


def _parse_value(value: JSONObject) -> Any:
    """Return the value of an attribute. promptcache sets no maps and no bytes, which are None."""
    for kind, convert in _CONVERSIONS.items():
        if kind in value:
            return convert(value[kind])
    if "arrayValue" in value:
        items = as_list(as_mapping(value["arrayValue"]).get("values"))
        # A list inside of a list is no attribute of a span.
        return tuple(_parse_value(one) for one in map(as_mapping, items) if "arrayValue" not in one)
    return None


def _to_whole_number(value: Any) -> int:
    return value if type(value) is int else int(str(value))


_CONVERSIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "stringValue": lambda text: text if isinstance(text, str) else None,
    "intValue": _to_whole_number,
    "doubleValue": float,
    "boolValue": lambda flag: flag if isinstance(flag, bool) else None,
}
