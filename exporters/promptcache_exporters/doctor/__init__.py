"""Find out why calls are missing, and say what to do about each reason."""
