"""The batch results that were counted already."""

from __future__ import annotations

from typing import Final, final

from promptcache.common.generational_cache import GenerationalCache


@final
class CountedBatchResults:
    """Remember which results of batches were counted, as hashes, since there are many.

    It has no lock: if two threads read the same results at once, a result may be counted twice.
    """

    MAX_RESULTS: Final = 1 << 18
    """The last half at least are held, more than Anthropic's largest batch has (100,000).

    21 MB when full.
    """

    def __init__(self) -> None:
        self._counted: GenerationalCache[int, bool] = GenerationalCache(self.MAX_RESULTS)

    def mark_counted_if_new(self, provider: str, results_url: str, result_id: str) -> bool:
        """Mark one result as counted, and return whether it was not counted before."""
        key = hash((provider, results_url, result_id))
        is_new = key not in self._counted
        self._counted[key] = True
        return is_new
