"""Alibaba Model Studio."""
