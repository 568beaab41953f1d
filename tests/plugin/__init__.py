"""The pytest plugin with the real packages of others, each in a virtual environment of its own."""
