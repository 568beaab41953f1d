"""Many streams at once, and every way to end one."""
