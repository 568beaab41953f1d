"""Anthropic, and the platforms that serve Claude models through Anthropic's SDK."""
