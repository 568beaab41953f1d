"""What the doctor finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its stable name, what is the case, and what to do about it (empty if well)."""

    level: Level
    name: str
    text: str
    advice: str = ""


def ok(name: str, text: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(Level.OK, name, text)


def warning(name: str, text: str, advice: str) -> Finding:
    """Return a finding that may be meant, or that loses something."""
    return Finding(Level.WARNING, name, text, advice)


def fault(name: str, text: str, advice: str) -> Finding:
    """Return a finding for which calls are not recorded."""
    return Finding(Level.FAULT, name, text, advice)


def has_fault(findings: Iterable[Finding]) -> bool:
    """Return whether any finding is a fault."""
    return any(finding.level is Level.FAULT for finding in findings)
