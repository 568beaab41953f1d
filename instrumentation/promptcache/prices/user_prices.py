"""The user's own prices: a YAML or JSON file that wins over the table. Format: `docs/specs/cost.md`, section 8.

A file is used whole or not at all: half a price list would price the rest by somebody else's word.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Any, Final, cast, final

from promptcache.prices.located_document import DocumentError, LocatedValue, parse
from promptcache.prices.table import STANDARD_TIER, PriceRow

TIERS: Final = (STANDARD_TIER, "batch", "flex", "priority", "fast")
TTLS: Final = ("5m", "30m", "1h", "12h", "unknown")
MODALITIES: Final = ("audio", "image", "video")


class PriceFileError(ValueError):
    """What is wrong with a price file: `file:line: problem; allowed: ...`, one line an error."""


class _Checker:
    """Collects every error of a file instead of stopping at the first."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.errors: list[str] = []

    def say(self, node: LocatedValue, problem: str, allowed: str) -> None:
        self.errors.append(f"{self.path}:{node.line}: {problem}; allowed: {allowed}")

    def mapping(
        self, node: LocatedValue, what: str, keys: Iterable[str] = ()
    ) -> dict[str, LocatedValue]:
        """The items of a mapping; keys outside `keys` (where any are given) are errors."""
        allowed = tuple(keys)
        if not node.is_a(dict):
            self.say(
                node,
                f"{what} is not a mapping",
                "a mapping" + (f" of {', '.join(allowed)}" if allowed else ""),
            )
            return {}
        items = cast("dict[str, LocatedValue]", node.value)
        for key, value in items.items():
            if allowed and key not in allowed:
                self.say(value, f"{what} has the unknown key {key!r}", ", ".join(allowed))
        return items

    def items(self, node: LocatedValue, what: str) -> list[LocatedValue]:
        if not node.is_a(list):
            self.say(node, f"{what} is not a list", "a list")
            return []
        return cast("list[LocatedValue]", node.value)

    def number(self, node: LocatedValue, what: str, *, above: float | None = None) -> float:
        value = node.value
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value < 0
        ):
            self.say(node, f"{what} is {value!r}", "a number of at least 0")
            return 0.0
        if above is not None and value <= above:
            self.say(node, f"{what} is {value!r}", f"a number above {above:g}")
        return float(value)

    def word(self, node: LocatedValue, what: str, choices: Iterable[str] = ()) -> str:
        value, allowed = node.value, tuple(choices)
        if not isinstance(value, str) or not value.strip() or (allowed and value not in allowed):
            self.say(
                node,
                f"{what} is {value!r}",
                ", ".join(allowed) if allowed else "a text that is not empty",
            )
            return ""
        return value.strip()

    def day(self, node: LocatedValue, what: str) -> str:
        if isinstance(node.value, date):
            return node.value.isoformat()[:10]
        try:
            if isinstance(node.value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", node.value):
                return date.fromisoformat(node.value).isoformat()
        except ValueError:
            pass
        self.say(node, f"{what} is {node.value!r}", "a day such as 2026-11-20")
        return ""


@final
class UserPrices:
    """A price file that was read: rows by name pattern, and aliases."""

    def __init__(self) -> None:
        self.aliases: dict[str, tuple[str | None, str]] = {}
        self.rows: list[tuple[tuple[str, ...], str | None, PriceRow]] = []

    def resolve_alias(self, provider: str, model: str) -> tuple[str, str]:
        """Provider and name that the user means by `model`: one step, so that aliases cannot circle."""
        to, name = self.aliases.get(model.lower(), (None, model))
        return to or provider, name

    def find_row(self, provider: str, model: str) -> PriceRow | None:
        """The user's own row of a model; the first entry whose pattern matches."""
        name = model.lower()
        for patterns, owner, row in self.rows:
            if (owner is None or owner == provider) and any(
                fnmatchcase(name, pattern) for pattern in patterns
            ):
                return row
        return None

    def mentions(self, provider: str, model: str) -> bool:
        """Whether the file says anything of `model`."""
        return model.lower() in self.aliases or self.find_row(provider, model) is not None


_HEAD: Final = ("currency", "rate", "source", "date", "aliases", "models")
_MODEL: Final = (
    "match",
    "provider",
    "from",
    "tier",
    "input",
    "read",
    "write",
    "output",
    *MODALITIES,
    "reasoning",
    "tools",
    "storage",
    "above",
    "source",
)
_BAND: Final = ("input", "read", "write", "output")


def load_user_prices(path: str) -> UserPrices:
    """The price file at `path`. Raises PriceFileError with every error that it has."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise PriceFileError(f"{path}: cannot be read: {error}") from None
    try:
        root = parse(text, yaml=os.path.splitext(path)[1].lower() in (".yaml", ".yml"))
    except DocumentError as error:
        raise PriceFileError(
            f"{path}:{error.line}: {error}; allowed: JSON, or YAML in a .yaml file"
        ) from None
    check = _Checker(path)
    found = _read(check, root)
    if check.errors:
        raise PriceFileError("\n".join(check.errors))
    return found


def _read(check: _Checker, root: LocatedValue) -> UserPrices:
    own = UserPrices()
    head = check.mapping(root, "the file", _HEAD)
    rate = _rate(check, head, root)
    source = (
        check.word(head["source"], "source") if "source" in head else os.path.basename(check.path)
    )
    day = check.day(head["date"], "date") if "date" in head else None
    for name, node in (
        check.mapping(head["aliases"], "aliases").items() if "aliases" in head else ()
    ):
        own.aliases[name.lower()] = _alias(check, node)
    grouped: dict[tuple[tuple[str, ...], str | None], list[dict[str, Any]]] = {}
    for node in check.items(head["models"], "models") if "models" in head else ():
        patterns, provider, entry = _model(check, node, rate)
        grouped.setdefault((patterns, provider), []).append(entry)
    for (patterns, provider), entries in grouped.items():
        entries.sort(key=lambda entry: str(entry.get("from", "")))
        own.rows.append(
            (
                patterns,
                provider,
                PriceRow("", ", ".join(patterns), entries, {"*": 1.0}, source, day),
            )
        )
    return own


def _rate(check: _Checker, head: Mapping[str, LocatedValue], root: LocatedValue) -> float:
    """USD per unit of the file's currency."""
    currency = check.word(head["currency"], "currency").upper() if "currency" in head else "USD"
    if "rate" in head:
        return check.number(head["rate"], "rate", above=0)
    if currency not in ("USD", ""):
        check.say(
            head.get("currency", root),
            f"currency {currency} has no rate",
            "rate: USD for one " + currency,
        )
    return 1.0


def _alias(check: _Checker, node: LocatedValue) -> tuple[str | None, str]:
    if not node.is_a(dict):
        return None, check.word(node, "an alias")
    items = check.mapping(node, "an alias", ("model", "provider"))
    if "model" not in items:
        check.say(node, "an alias has no model", "model, provider")
        return None, ""
    provider = check.word(items["provider"], "provider") if "provider" in items else None
    return provider, check.word(items["model"], "model")


def _patterns(check: _Checker, node: LocatedValue) -> tuple[str, ...]:
    nodes = cast("list[LocatedValue]", node.value) if node.is_a(list) else [node]
    if not nodes:
        check.say(node, "match is empty", "a model's name or pattern, or a list of them")
    return tuple(check.word(one, "match").lower() for one in nodes)


def _model(
    check: _Checker, node: LocatedValue, rate: float
) -> tuple[tuple[str, ...], str | None, dict[str, Any]]:
    items = check.mapping(node, "a model", _MODEL)
    if "match" not in items:
        check.say(
            node, "a model has no match", "match: a model's name or pattern, or a list of them"
        )
        return (), None, {}
    if "input" not in items and "storage" not in items:
        check.say(node, "a model has no input price", "input: a price per million tokens")
    entry: dict[str, Any] = {}
    if "from" in items:
        entry["from"] = check.day(items["from"], "from")
    if "tier" in items:
        entry["tier"] = check.word(items["tier"], "tier", TIERS)
    if "source" in items:
        entry["source"] = check.word(items["source"], "source")
    entry |= _prices(check, items, rate)
    for start, prices in _bands(check, items, rate):
        for key in set(entry) & {"input", "read", "output"} | {
            key for key in entry if key.startswith("write.")
        }:
            known = entry[key] if isinstance(entry[key], list) else [entry[key]]
            entry[key] = [*known, start, prices.get(key, known[-1])]
    provider = check.word(items["provider"], "provider") if "provider" in items else None
    return _patterns(check, items["match"]), provider, entry


def _bands(
    check: _Checker, items: Mapping[str, LocatedValue], rate: float
) -> list[tuple[int, dict[str, float]]]:
    """The prices above each input size, ascending."""
    found: list[tuple[int, dict[str, float]]] = []
    for start, node in check.mapping(items["above"], "above").items() if "above" in items else ():
        if not start.isdigit():
            check.say(node, f"above has the key {start!r}", "a number of input tokens")
            continue
        found.append((int(start), _prices(check, check.mapping(node, "above", _BAND), rate)))
    return sorted(found, key=lambda band: band[0])


def _prices(check: _Checker, items: Mapping[str, LocatedValue], rate: float) -> dict[str, float]:
    """A model's prices under the names that the table uses, in USD."""
    found: dict[str, float] = {}
    for key, name in (
        ("input", "input"),
        ("read", "read"),
        ("output", "output"),
        ("storage", "storage"),
        ("reasoning", "reasoning.output"),
    ):
        if key in items:
            found[name] = check.number(items[key], key) * rate
    if "write" in items:
        node = items["write"]
        split = check.mapping(node, "write", TTLS) if node.is_a(dict) else dict.fromkeys(TTLS, node)
        found |= {
            f"write.{ttl}": check.number(split[ttl], f"write.{ttl}") * rate
            for ttl in TTLS
            if ttl in split
        }
    named: tuple[tuple[str, Callable[[str], str], tuple[str, ...]], ...] = (
        *(
            (kind, (lambda name, kind=kind: f"{kind}.{name}"), ("input", "read", "output"))
            for kind in MODALITIES
        ),
        ("tools", lambda name: f"tools.{name}", ()),
    )
    for key, rename, keys in named:
        for name, node in check.mapping(items[key], key, keys).items() if key in items else ():
            found[rename(name)] = check.number(node, f"{key}.{name}") * rate
    return found
