"""Usage -> Cost: what a call cost, what it would have cost without a cache, and what one more token costs.

The rules stand in `docs/specs/cost.md`. Importing this reads no table: `Book` looks a model up on its first call and
keeps only what it was asked for.
"""

from __future__ import annotations

from promptcache.prices.book import PriceBook

__all__ = ["PriceBook"]
