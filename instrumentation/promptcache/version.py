"""The version, which hatchling reads at build time."""

__version__ = "0.1.0"
