"""The local table of LLM calls, reports on it, and alert files for monitoring backends."""
