"""Requests and usage as nobody should send them, through everything of ours below the SDKs."""
