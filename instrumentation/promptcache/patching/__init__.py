"""Wrap the functions of the SDKs, and turn their calls into invocations."""
