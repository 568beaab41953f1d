"""OpenTelemetry instrumentation that shows what LLM prompt caching really does."""
