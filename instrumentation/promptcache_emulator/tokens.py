"""Count the tokens of a text.

The count is deterministic and needs no network. Real tokenizers differ from each other, and the
caches need only three properties: equal beginnings have equal tokens, a change moves no token
before it, and the count cannot be computed from the length of the text.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final

_TOKEN_PATTERN: Final = re.compile(
    r" ?[A-Za-z]{1,7}|\d{1,3}|\s+|[^\W\d_A-Za-z]{1,2}|[^\w\s]{1,2}|_|.", re.DOTALL
)


_SHORT_TEXT: Final = 1 << 16
"""Up to this length a thousand texts are remembered, beyond it eight."""


def token_ends(text: str) -> Sequence[int]:
    """Return the character offset at which each token ends; the last one is `len(text)`."""
    return _short_token_ends(text) if len(text) <= _SHORT_TEXT else _long_token_ends(text)


def _find_token_ends(text: str) -> Sequence[int]:
    # An array takes four bytes per token; a tuple in this cache would take several times as much.
    return array("I", accumulate(map(len, _TOKEN_PATTERN.findall(text))))


_short_token_ends = lru_cache(maxsize=1024)(_find_token_ends)
_long_token_ends = lru_cache(maxsize=8)(_find_token_ends)


def count_tokens(text: str) -> int:
    return len(token_ends(text))
