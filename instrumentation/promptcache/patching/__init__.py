"""Where to stand in each SDK."""
