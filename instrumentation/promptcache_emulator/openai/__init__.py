"""OpenAI: Chat Completions, Responses, and the prompt cache."""
