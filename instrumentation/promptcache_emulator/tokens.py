"""How many tokens a text has, for the emulator: deterministic, local, and no constant multiple of its bytes.

Real tokenizers differ from each other; what the caches need is only that equal beginnings have equal tokens, that a
change moves no token before it, and that nobody can guess the count from the length.
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


@lru_cache(maxsize=1024)
def token_ends(text: str) -> Sequence[int]:
    """Where each token of `text` ends, in characters; the last is `len(text)`. Four bytes a token, as many are kept."""
    return array("I", accumulate(map(len, _TOKEN_PATTERN.findall(text))))


def count_tokens(text: str) -> int:
    """Number of tokens of `text`."""
    return len(token_ends(text))
