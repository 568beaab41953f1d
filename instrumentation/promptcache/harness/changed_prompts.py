"""Notice that a prompt has other bytes than an earlier one of its name, and say what it costs.

Prices and diagnosis are loaded for a warning only: the first chat of a process is waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from logging import getLogger
from typing import Final, NamedTuple, final

from promptcache.common.bounded_dict import BoundedDict

log = getLogger(__name__)

_MAX_NAMES: Final = 256
_SEARCHED_CHARS: Final = 1000
"""How much of a changed text, on both sides of the change, is searched for a changing value."""
_ADVICE: Final = "What changes with every call belongs into ask(now=...)."

_lock = threading.Lock()
_known: BoundedDict[str, Mapping[str, str]] = BoundedDict(_MAX_NAMES)
_warned: BoundedDict[tuple[str, str], bool] = BoundedDict(_MAX_NAMES)


@final
class CacheLoss(NamedTuple):
    """What a change loses: about so many tokens of a model are processed anew."""

    provider: str
    model: str
    tokens: int
    ttl: str | None

    def __str__(self) -> str:
        from promptcache.harness.list_prices import rewrite_cost_usd

        usd = rewrite_cost_usd(self.provider, self.model, self.tokens, self.ttl)
        price = "" if usd is None else f", {usd:.4f} USD"
        return f"about {self.tokens} tokens are processed anew{price}"


def warn_of_changed_prompt(name: str, texts: Mapping[str, str], loss: CacheLoss) -> None:
    """Log once for each name that its static layer changed, with the first part that did.

    `texts` are the JSON texts of `tools`, `system` and `examples`, in this order. The line has the
    place and the kind of the changed value, never its text.
    """
    with _lock:
        before = _known.get(name)
        _known[name] = texts
        changed = [part for part in texts if before and before[part] != texts[part]]
        if not before or not changed or not _is_first(name, "static"):
            return
    old, new = before[changed[0]], texts[changed[0]]
    start = _common_length(old, new)
    log.warning(
        "Prompt %r has other %s than an earlier Prompt of this name, from character %d of their "
        "JSON on%s. With each change %s. %s",
        name,
        changed[0],
        start,
        _describe_value(old, new, start),
        loss,
        _ADVICE,
    )


def warn_of_changed_param(name: str, param: str, section: str, loss: CacheLoss) -> None:
    """Log once for each prompt and parameter that its value changed between two calls."""
    with _lock:
        if not _is_first(name, param):
            return
    log.warning(
        "Prompt %r: the parameter %s changed, and with it the provider drops the cached prefix "
        "from its %s on: %s. Keep one value in Prompt(params=...).",
        name,
        param,
        section,
        loss,
    )


def _is_first(name: str, subject: str) -> bool:
    if (name, subject) in _warned:
        return False
    _warned[name, subject] = True
    return True


def _common_length(one: str, other: str) -> int:
    """Return the length of the longest common beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _describe_value(old: str, new: str, start: int) -> str:
    from promptcache.diagnosis.text_changes import find_text_change
    from promptcache.prefix.fingerprint import describe_message

    first = max(0, start - _SEARCHED_CHARS)
    before, after = (text[first : start + _SEARCHED_CHARS] for text in (old, new))
    change = find_text_change(after, describe_message(after), describe_message(before), None)
    return f", where a value looks like a {change.hint}" if change.kind == "value" else ""
