"""Small helpers without knowledge of LLM calls."""
