"""The user's own prices: a JSON or YAML file that wins over the built-in price table.

The format is in `docs/specs/cost.md`, section 8. A file with any error is rejected as a whole, so
that prices never mix two sources.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final, TypeGuard, final

from promptcache.prices.located_document import (
    DocumentCheck,
    MappingWithRepeatedKeys,
    UnparsableDocumentError,
    check_list_of,
    check_mapping_of,
    check_scalar,
    parse_document,
)
from promptcache.prices.table import STANDARD_TIER, PriceRow

TIERS: Final = (STANDARD_TIER, "batch", "flex", "priority", "fast")
TTLS: Final = ("5m", "30m", "1h", "12h", "unknown")
MODALITIES: Final = ("audio", "image", "video")
_MAX_BYTES: Final = 32 << 20
_MAX_ERRORS: Final = 50


class PriceFileError(ValueError):
    """A price file cannot be used.

    The message has one line an error: `p.json: models[3].input is 'free'; allowed: ...`.
    """


@final
class UserPrices:
    """The aliases and the price rows of a price file."""

    def __init__(self) -> None:
        self.aliases: dict[str, tuple[str | None, str]] = {}
        self.rows: list[tuple[tuple[str, ...], str | None, PriceRow]] = []

    def resolve_alias(self, provider: str, model: str) -> tuple[str, str]:
        """Return the provider and the model that `model` stands for.

        An alias of an alias is not followed, so aliases cannot form a cycle.
        """
        target_provider, target = self.aliases.get(model.lower(), (None, model))
        return target_provider or provider, target

    def find_price_row(self, provider: str, model: str) -> PriceRow | None:
        """Return the row of the first entry with a pattern that fits the model."""
        name = model.lower()
        for patterns, owner, row in self.rows:
            if owner in (None, provider) and any(fnmatchcase(name, one) for one in patterns):
                return row
        return None

    def has_alias_or_row(self, provider: str, model: str) -> bool:
        """Return whether the file has an alias or a row for the model."""
        return model.lower() in self.aliases or self.find_price_row(provider, model) is not None


def load_user_prices(path: str) -> UserPrices:
    """Read the price file at `path`. Raises PriceFileError with all errors of the file."""
    text = _read_text(path)
    is_yaml = os.path.splitext(path)[1].lower() in (".yaml", ".yml")
    try:
        document: Any = parse_document(text, is_yaml=is_yaml)
    except UnparsableDocumentError as error:
        raise PriceFileError(f"{path}: {error}; allowed: JSON, or YAML in a .yaml file") from None
    if errors := list(islice(_find_document_errors(document), _MAX_ERRORS + 1)):
        errors[_MAX_ERRORS:] = ["there are more errors"] * (len(errors) > _MAX_ERRORS)
        raise PriceFileError("\n".join(f"{path}: {error}" for error in errors))
    return _build_user_prices(document, os.path.basename(path))


def _read_text(path: str) -> str:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise PriceFileError(
                f"{path}: allowed: a regular file of at most {_MAX_BYTES >> 20} MB"
            )
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise PriceFileError(f"{path}: cannot be read: {error}") from None


def _is_price(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value <= sys.float_info.max


def _is_nonempty_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_iso_day(value: object) -> bool:
    try:
        return isinstance(value, date) or date.fromisoformat(str(value)).isoformat() == value
    except ValueError:
        return False


def _is_band_threshold(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 16


def _check_by_type(
    value_type: type, if_kind: DocumentCheck, otherwise: DocumentCheck
) -> DocumentCheck:
    return lambda value, path: (if_kind if isinstance(value, value_type) else otherwise)(
        value, path
    )


def _check_mapping_with_keys(
    checks: Mapping[str, DocumentCheck], required: Mapping[str, str] | None = None
) -> DocumentCheck:
    return check_mapping_of(checks.get, ", ".join(checks), required or {})


_PRICE: Final = check_scalar(_is_price, "a number of at least 0")
_TEXT: Final = check_scalar(_is_nonempty_text, "a text that is not empty")
_DAY: Final = check_scalar(_is_iso_day, "a day such as 2026-11-20")
_PRICES_BY_CLASS: Final[dict[str, DocumentCheck]] = dict.fromkeys(
    ("input", "read", "output"), _PRICE
)
_WRITE: Final = _check_by_type(dict, _check_mapping_with_keys(dict.fromkeys(TTLS, _PRICE)), _PRICE)
_BAND: Final = _check_mapping_with_keys({**_PRICES_BY_CLASS, "write": _WRITE})
_ALIAS: Final = _check_by_type(
    dict,
    _check_mapping_with_keys({"model": _TEXT, "provider": _TEXT}, {"model": "a model's name"}),
    _TEXT,
)
_NAMES: Final = "a model's name or pattern, or a list of them"
_MODEL: Final = _check_mapping_with_keys(
    {
        "match": _check_by_type(list, check_list_of(_TEXT, _NAMES), _TEXT),
        "provider": _TEXT,
        "from": _DAY,
        "tier": check_scalar(TIERS.__contains__, ", ".join(TIERS)),
        **_PRICES_BY_CLASS,
        "write": _WRITE,
        **dict.fromkeys(MODALITIES, _check_mapping_with_keys(_PRICES_BY_CLASS)),
        "reasoning": _PRICE,
        "tools": check_mapping_of(lambda _: _PRICE, "a price for each tool", {}),
        "storage": _PRICE,
        "above": check_mapping_of(
            lambda key: _BAND if _is_band_threshold(key) else None, "a number of input tokens", {}
        ),
        "source": _TEXT,
    },
    {"match": _NAMES, "input or storage": "a price per million tokens"},
)
_FILE: Final = _check_mapping_with_keys(
    {
        "currency": _TEXT,
        "rate": check_scalar(lambda value: _is_price(value) and value > 0, "a number above 0"),
        "source": _TEXT,
        "date": _DAY,
        "aliases": check_mapping_of(lambda _: _ALIAS, "a model for each alias", {}),
        "models": check_list_of(_MODEL),
    }
)


def _find_document_errors(document: Any) -> Iterator[str]:
    yield from _FILE(document, "")
    if isinstance(document, MappingWithRepeatedKeys) and "rate" not in document:
        currency = str(document.get("currency", "USD")).strip().upper()
        if currency != "USD":
            yield f"rate is missing; allowed: USD for one {currency}"


def _build_user_prices(document: Mapping[str, Any], default_source: str) -> UserPrices:
    user_prices = UserPrices()
    for name, alias in document.get("aliases", {}).items():
        target = {"model": alias} if isinstance(alias, str) else alias
        user_prices.aliases[name.lower()] = (
            _stripped_text_or_none(target, "provider"),
            target["model"].strip(),
        )
    rows: dict[tuple[tuple[str, ...], str | None], list[dict[str, Any]]] = {}
    for model in document.get("models", ()):
        names = model["match"] if isinstance(model["match"], list) else [model["match"]]
        patterns = tuple(name.strip().lower() for name in names)
        entry = _build_table_entry(model, document.get("rate", 1.0))
        rows.setdefault((patterns, _stripped_text_or_none(model, "provider")), []).append(entry)
    source = _stripped_text_or_none(document, "source") or default_source
    day = _iso_day_or_none(document, "date")
    for (patterns, provider), entries in rows.items():
        entries.sort(key=lambda entry: str(entry.get("from", "")))
        row = PriceRow("", ", ".join(patterns), entries, {"*": 1.0}, source, day)
        user_prices.rows.append((patterns, provider, row))
    return user_prices


def _stripped_text_or_none(mapping: Mapping[str, Any], key: str) -> str | None:
    return mapping[key].strip() if key in mapping else None


def _iso_day_or_none(mapping: Mapping[str, Any], key: str) -> str | None:
    # YAML has dates and times of its own.
    return str(mapping[key])[:10] if key in mapping else None


def _build_table_entry(model: Mapping[str, Any], usd_rate: float) -> dict[str, Any]:
    """Return a model's prices in the format of the price table, in USD."""
    heads = {
        "from": _iso_day_or_none(model, "from"),
        "tier": model.get("tier"),
        "source": _stripped_text_or_none(model, "source"),
    }
    entry: dict[str, Any] = {key: value for key, value in heads.items() if value is not None}
    prices = _prices_by_table_key(model, usd_rate)
    bands = [
        (int(start), _prices_by_table_key(band, usd_rate))
        for start, band in model.get("above", {}).items()
    ]
    bands.sort(key=lambda band: band[0])
    for key, price in prices.items():
        is_banded = key in _PRICES_BY_CLASS or key.startswith("write.")
        entry[key] = _build_banded_price(key, price, bands) if bands and is_banded else price
    return entry


def _build_banded_price(
    key: str, price: float, bands: list[tuple[int, dict[str, float]]]
) -> list[float]:
    """Return `[price, start, price above it, ...]`. A band without the price keeps the one
    below."""
    banded = [price]
    for start, prices in bands:
        banded += (start, prices.get(key, banded[-1]))
    return banded


def _prices_by_table_key(model: Mapping[str, Any], usd_rate: float) -> dict[str, float]:
    """Return prices by their keys in the price table, in USD."""
    write = model.get("write", MappingWithRepeatedKeys(()))
    by_ttl = write if isinstance(write, MappingWithRepeatedKeys) else dict.fromkeys(TTLS, write)
    ordered = {ttl: by_ttl[ttl] for ttl in TTLS if ttl in by_ttl}
    groups = {"write": ordered} | {key: model.get(key, {}) for key in (*MODALITIES, "tools")}
    prices = {key: model[key] for key in (*_PRICES_BY_CLASS, "storage") if key in model}
    if "reasoning" in model:
        prices["reasoning.output"] = model["reasoning"]
    for group, members in groups.items():
        prices |= {f"{group}.{name}": price for name, price in members.items()}
    return {key: float(price) * usd_rate for key, price in prices.items()}
