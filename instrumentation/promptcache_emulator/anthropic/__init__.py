"""Anthropic: Messages, batches, and the prompt cache."""
