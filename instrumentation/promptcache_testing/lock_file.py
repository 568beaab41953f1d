"""`promptcache.lock`: what each test's prompts looked like when somebody last accepted them.

It holds hashes and counts, never text. Hashes are compared under one version of Python: 3.13 strips
the indentation of docstrings, from which frameworks make the descriptions of tools.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from promptcache_testing.errors import CacheRegressionError
from promptcache_testing.profile_date import PROFILE_DATE
from promptcache_testing.summaries import PromptSummary, TestSummary

SCHEMA: Final = 1
RATE_TOLERANCE: Final = 0.005
_COMMENT: Final = "# Written by promptcache. It holds hashes and counts, no text."

LockEntry = Mapping[str, Any]
"""One test: `hit_rate` and `prompts`, each with `tools`, `system`, tokens and `breakpoints`."""


def python_minor() -> str:
    """Return the running version of Python, such as `3.12`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def current_header() -> dict[str, Any]:
    return {"schema": SCHEMA, "profile_date": PROFILE_DATE, "python": python_minor()}


class LockFile:
    """The lock as it is on disk. An absent file has no entries, so nothing is compared.

    Raise ValueError if the file is no TOML, or of a later schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if data.get("schema", SCHEMA) > SCHEMA:
            raise ValueError(f"{path.name} was written by a later version of promptcache")
        self.exists = bool(data)
        self.entries: dict[str, LockEntry] = data.pop("tests", {})
        self._header = data

    def check(
        self, summary: TestSummary, update_option: str, judging_python: str = ""
    ) -> str | None:
        """Compare a test with its entry, if there is one. Raise CacheRegressionError if it differs.

        Under other rules or another version of Python (of the lock, or `judging_python`) return the
        differences instead. `update_option` is the option that accepts them.
        """
        entry = self.entries.get(summary.nodeid)
        differences = [] if entry is None else compare_entries(entry, to_entry(summary))
        if not differences:
            return None
        text = f"{summary.nodeid} differs from {self.path.name}: " + "; ".join(differences)
        if self._header == current_header() and judging_python in ("", python_minor()):
            raise CacheRegressionError(f"{text}\naccept it with {update_option}")
        return f"{text} (not judged: other rules or another version of Python)"

    def write(self, summaries: Iterable[TestSummary]) -> list[str]:
        """Replace the entries of these tests, keep all others, and return what changed."""
        lines: list[str] = []
        entries = dict(self.entries)
        for one in summaries:
            new, old = to_entry(one), entries.get(one.nodeid)
            changes = ["new"] if old is None else compare_entries(old, new, both_ways=True)
            lines += [f"{one.nodeid}: {change}" for change in changes]
            entries[one.nodeid] = new
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(to_toml(entries), encoding="utf-8")
        return lines


def to_entry(summary: TestSummary) -> LockEntry:
    """Return the entry of a test."""
    rate = summary.hit_rate
    return {
        "calls": len(summary.calls),
        **({} if rate is None else {"hit_rate": round(rate, 4)}),
        "prompts": [_prompt_to_entry(one) for one in summary.prompts],
    }


def _prompt_to_entry(prompt: PromptSummary) -> LockEntry:
    return {
        "tools": prompt.tools_hash or "",
        "tools_tokens": prompt.tools_tokens,
        "system": prompt.system_hash or "",
        "system_tokens": prompt.system_tokens,
        "breakpoints": prompt.breakpoints,
    }


def compare_entries(old: LockEntry, new: LockEntry, *, both_ways: bool = False) -> list[str]:
    """Return what got worse: other hashes or breakpoints, a lower hit rate.

    `both_ways` also returns a better hit rate.
    """
    before, after = old.get("prompts", []), new["prompts"]
    found: list[str] = []
    if len(before) != len(after):
        found.append(f"{len(after)} different prompts, the lock has {len(before)}")
    for index, (one, other) in enumerate(zip(before, after, strict=False)):
        found += [f"prompt {index}: {change}" for change in _compare_prompts(one, other)]
    rate, new_rate = old.get("hit_rate"), new.get("hit_rate")
    is_worse = rate is not None and (new_rate is None or new_rate < rate - RATE_TOLERANCE)
    if is_worse or (both_ways and rate != new_rate):
        found.append(f"hit rate {_show(rate)} -> {_show(new_rate)}")
    return found


def _compare_prompts(old: LockEntry, new: LockEntry) -> list[str]:
    changed = [section for section in ("tools", "system") if old.get(section) != new[section]]
    found = [
        f"{section} changed "
        f"({old.get(f'{section}_tokens', 0):,} -> {new[f'{section}_tokens']:,} tokens)"
        for section in changed
    ]
    if old.get("breakpoints") != new["breakpoints"]:
        found.append("the breakpoints moved")
    return found


def _show(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.4f}"


def to_toml(entries: Mapping[str, LockEntry]) -> str:
    """Return the text of a lock."""
    lines = [
        _COMMENT,
        *(f"{name} = {json.dumps(value)}" for name, value in current_header().items()),
    ]
    for nodeid in sorted(entries):
        table = f"tests.{_to_toml_value(nodeid)}"
        prompts = entries[nodeid]["prompts"]
        values = {name: value for name, value in entries[nodeid].items() if name != "prompts"}
        lines += ["", f"[{table}]", *_key_values(values)]
        for prompt in prompts:
            lines += [f"[[{table}.prompts]]", *_key_values(prompt)]
    return "\n".join(lines) + "\n"


def _key_values(values: LockEntry) -> list[str]:
    return [f"{name} = {_to_toml_value(value)}" for name, value in values.items()]


def _to_toml_value(value: Any) -> str:
    """Return a string, a number or a list of strings in TOML, which writes them as JSON does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
