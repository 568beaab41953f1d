"""LiteLLM, a library that calls many providers."""
