"""Rounding of amounts that are sums over calls."""

from __future__ import annotations


def round_usd_to_12_digits(amount: float) -> float:
    """Round to 12 significant digits, so that the order of the additions is not visible."""
    return float(f"{amount:.12g}")
