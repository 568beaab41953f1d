"""What the second process hands over: for each test its static prefixes, in a file without text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptcache_testing.second_run.static_prefix import StaticPrefix, TextDigests


@dataclass(slots=True)
class SecondTestResult:
    """One test in the second process.

    `failure` is None if it passed; else it says by type and place why it did not, without a
    message. `breaks` describes the calls that did not extend the earlier ones.
    """

    failure: str | None = None
    prefixes: list[StaticPrefix] = field(default_factory=list[StaticPrefix])
    breaks: list[str] = field(default_factory=list[str])

    def to_json(self) -> dict[str, Any]:
        prefixes = [one.to_json() for one in self.prefixes]
        return {"failure": self.failure, "prefixes": prefixes, "breaks": self.breaks}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SecondTestResult:
        prefixes = [StaticPrefix.from_json(one) for one in data["prefixes"]]
        return cls(data["failure"], prefixes, data["breaks"])


@dataclass(slots=True)
class SecondRunResults:
    """All tests of the second process by node id, and the digests of each distinct block."""

    tests: dict[str, SecondTestResult] = field(default_factory=dict[str, SecondTestResult])
    texts: dict[str, TextDigests] = field(default_factory=dict[str, TextDigests])

    def write(self, path: Path) -> None:
        data = {
            "tests": {nodeid: one.to_json() for nodeid, one in self.tests.items()},
            "texts": {digest: one.to_json() for digest, one in self.texts.items()},
        }
        path.write_text(json.dumps(data), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> SecondRunResults:
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            {nodeid: SecondTestResult.from_json(one) for nodeid, one in data["tests"].items()},
            {digest: TextDigests.from_json(one) for digest, one in data["texts"].items()},
        )
