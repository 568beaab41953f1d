"""Values that change from call to call, as applications render them into prompts."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

IDENTIFIER = frozenset({"hex_id", "id", "random_id", "opaque_id"})
"""Hints that are right for any identifier that is no UUID."""


@dataclass(frozen=True)
class ChangingValue:
    """A kind of value. `render` returns it for the n-th call; `hints` are the right hints."""

    name: str
    hints: frozenset[str]
    render: Callable[[random.Random, int], str]


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NANOID = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_GERMAN_MONTHS = ("Oktober", "November", "Dezember")
_FRENCH_MONTHS = ("octobre", "novembre", "décembre")
_ENGLISH_MONTHS = ("October", "November", "December")
_USERS = (
    "Amélie Dupont",
    "Bartosz Zieliński",
    "Carlos Mendes",
    "Deepa Raman",
    "Erik Sandberg",
    "Fatima Zahra",
    "Grace Okafor",
    "Hana Kobayashi",
    "Igor Petrov",
)


def _day(n: int) -> int:
    return 1 + (n * 3) % 28


def _random_text(rng: random.Random, alphabet: str, length: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(length))


def _jwt(rng: random.Random, n: int) -> str:
    claims = json.dumps({"sub": f"u{rng.randint(1000, 9999)}", "exp": 1_795_000_000 + 600 * n})
    parts = ('{"alg":"HS256","typ":"JWT"}', claims, f"{rng.getrandbits(160):040x}")
    return ".".join(base64.urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts)


def _sha(rng: random.Random) -> str:
    """Return seven hexadecimal digits with at least one letter, as `git rev-parse --short` does."""
    return f"{rng.getrandbits(24) | 0x00A000:06x}{rng.choice('abcdef')}"


def _ages(_: random.Random, n: int) -> str:
    return f"{3 + 2 * n} minutes ago"


_DATE, _TIME = frozenset({"date"}), frozenset({"timestamp"})
VALUES = (
    ChangingValue("iso date", _DATE, lambda r, n: f"2026-11-{_day(n):02d}"),
    ChangingValue("long date", _DATE, lambda r, n: f"{_ENGLISH_MONTHS[n % 3]} {_day(n)}, 2026"),
    ChangingValue("German date", _DATE, lambda r, n: f"{_day(n)}. {_GERMAN_MONTHS[n % 3]}"),
    ChangingValue("French date", _DATE, lambda r, n: f"{_day(n)} {_FRENCH_MONTHS[n % 3]}"),
    ChangingValue("short date", _DATE, lambda r, n: f"{_day(n):02d}-Nov-2026"),
    ChangingValue("slash date", _DATE, lambda r, n: f"11/{_day(n):02d}/2026"),
    ChangingValue("week", frozenset({"date", "week"}), lambda r, n: f"2026-W{30 + n}"),
    ChangingValue(
        "iso time",
        _TIME,
        lambda r, n: f"2026-11-20T{8 + n % 12:02d}:{r.randint(10, 59)}:{r.randint(10, 59)}Z",
    ),
    ChangingValue("clock", _TIME, lambda r, n: f"{8 + n % 12:02d}:{r.randint(10, 59)}"),
    ChangingValue(
        "mail date", _TIME, lambda r, n: f"Fri, 20 Nov 2026 {8 + n % 12:02d}:{r.randint(10, 59)}:07"
    ),
    ChangingValue("epoch", _TIME, lambda r, n: str(1_795_000_000 + 61 * n + r.randint(1, 9))),
    ChangingValue("relative age", frozenset({"timestamp", "relative_time"}), _ages),
    ChangingValue(
        "uuid", frozenset({"uuid"}), lambda r, n: str(UUID(int=r.getrandbits(128), version=4))
    ),
    ChangingValue(
        "ulid",
        IDENTIFIER | {"ulid"},
        lambda r, n: "01KA" + _random_text(r, _CROCKFORD, 22),
    ),
    ChangingValue("nanoid", IDENTIFIER | {"nanoid"}, lambda r, n: _random_text(r, _NANOID, 21)),
    ChangingValue("jwt", IDENTIFIER | {"jwt", "token"}, _jwt),
    ChangingValue("git sha", IDENTIFIER | {"git_sha"}, lambda r, n: _sha(r)),
    ChangingValue(
        "hex id",
        frozenset({"hex_id"}),
        lambda r, n: f"{r.getrandbits(64) | 0xA000000000000001:016x}",
    ),
    ChangingValue("counter", frozenset({"counter"}), lambda r, n: str(1041 + n)),
    ChangingValue(
        "ip address",
        frozenset({"ip", "ip_address"}),
        lambda r, n: f"203.0.113.{10 + 7 * n}",
    ),
)
USER_NAMES = _USERS
