"""Write spans as the Collector's file exporter does: one message of OTLP JSON in each line."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # no stubs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan


def encode_otlp_json_line(spans: Sequence[ReadableSpan]) -> str:
    """Return the spans as one line.

    protobuf writes ids in base64, but OTLP in hex digits. It writes 64-bit numbers as text, and
    kinds and states by name where OTLP has numbers; nothing here reads those.
    """
    message: dict[str, Any] = MessageToDict(encode_spans(spans))
    for group in message["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for name in {"traceId", "spanId", "parentSpanId"} & span.keys():
                    span[name] = base64.b64decode(span[name]).hex()
    return json.dumps(message)
