"""What a process of the program leaves behind, without text of a prompt."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from promptcache_testing.summaries import TestSummary

FailureKind: TypeAlias = Literal["unstable", "hit_rate", "inconclusive", "no_calls"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a program does not pass: in the words of the checks."""

    kind: FailureKind
    text: str


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The calls of one process of the judged run. `started_at` is in epoch seconds."""

    started_at: float
    summary: TestSummary
    failures: tuple[Failure, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProcessReport:
        failures = tuple(Failure(**one) for one in data["failures"])
        return cls(data["started_at"], TestSummary.from_json(data["summary"]), failures)


class RunFolder:
    """The files of one run: for each process that calls a model a mark, and at its end a result."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def own_result(self) -> Path:
        """The file of this process."""
        return self._path / f"{os.getpid()}.json"

    def mark_start(self) -> None:
        """Remember that a Python process with promptcache ran."""
        (self._path / "started").touch()

    def mark_calls(self) -> None:
        """Remember that this process called a model, whether or not it ends well."""
        self.own_result.with_suffix(".calls").touch()

    @property
    def has_started(self) -> bool:
        return (self._path / "started").exists()

    @property
    def has_lost_process(self) -> bool:
        """Whether a process called a model and left no result."""
        marks = self._path.glob("*.calls")
        return any(not mark.with_suffix(".json").exists() for mark in marks)

    def results(self) -> list[Path]:
        """Return the files of all processes that ended."""
        return sorted(self._path.glob("*.json"))
