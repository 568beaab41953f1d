"""Wire formats: what each provider's requests and responses say, as pure functions over plain data."""
