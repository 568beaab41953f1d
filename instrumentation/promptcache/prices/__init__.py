"""Prices: compute the cost of a call from its usage. The rules are in `docs/specs/cost.md`.

Importing this package reads no price list. A PriceBook reads the list of a vendor when it first
sees one of the vendor's models, and keeps only the prices of that model.
"""

from __future__ import annotations

from promptcache.prices.book import PriceBook

__all__ = ["PriceBook"]
