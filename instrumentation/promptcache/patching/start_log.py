"""Say at the start which SDKs are observed, and why the others are not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from logging import getLogger
from typing import Final

from promptcache.patching.patcher import ModulePatcher
from promptcache.providers.registry import TRIGGER_MODULES
from promptcache.version import __version__

log = getLogger("promptcache")


OBSERVED: Final = "observed"
UNKNOWN: Final = "unknown"
ABSENT: Final = "absent"


def log_start(patchers: Mapping[str, ModulePatcher]) -> None:
    """Log one line at INFO. `patchers` maps hooked modules to their patchers."""
    if not log.isEnabledFor(logging.INFO):
        return
    names: dict[str, list[str]] = {OBSERVED: [], UNKNOWN: [], ABSENT: []}
    for package, state in find_sdk_states(patchers).items():
        names[state].append(package)
    parts = {
        f"promptcache {__version__} observes": names[OBSERVED],
        "imported, but of an unknown release:": names[UNKNOWN],
        "not observed, since not imported yet:": names[ABSENT],
    }
    log.info("; ".join(f"{begin} {', '.join(found)}" for begin, found in parts.items() if found))


def find_sdk_states(patchers: Mapping[str, ModulePatcher]) -> dict[str, str]:
    """Return for each SDK whether it is `OBSERVED`, imported but `UNKNOWN`, or `ABSENT`."""
    return {_package_of(trigger): _state(trigger, patchers) for trigger in TRIGGER_MODULES}


def _state(trigger: str, patchers: Mapping[str, ModulePatcher]) -> str:
    prefix = f"{_package_of(trigger)}."
    if any(name.startswith(prefix) and one.has_patches for name, one in patchers.items()):
        return OBSERVED
    return UNKNOWN if trigger in sys.modules else ABSENT


def _package_of(trigger: str) -> str:
    return trigger.removesuffix(".client")
