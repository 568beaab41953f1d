"""A server for the test of many concurrent streams."""
