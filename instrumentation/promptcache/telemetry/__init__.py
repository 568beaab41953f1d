"""The telemetry of calls: spans, attributes and metrics."""
