"""OpenAI, Azure OpenAI and the providers that speak OpenAI's wire formats."""
