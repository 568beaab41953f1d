"""Say at the start which SDKs are observed, and why the others are not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from logging import getLogger

from promptcache.patching.patcher import ModulePatcher
from promptcache.providers.registry import TRIGGER_MODULES
from promptcache.version import __version__

log = getLogger("promptcache")


def log_start(patchers: Mapping[str, ModulePatcher]) -> None:
    """Log one line at INFO. `patchers` maps hooked modules to their patchers."""
    if not log.isEnabledFor(logging.INFO):
        return
    names: dict[str, list[str]] = {"observed": [], "unknown": [], "absent": []}
    for trigger in TRIGGER_MODULES:
        names[_state(trigger, patchers)].append(_package_of(trigger))
    parts = {
        f"promptcache {__version__} observes": names["observed"],
        "imported, but of an unknown release:": names["unknown"],
        "not observed, since not imported yet:": names["absent"],
    }
    log.info("; ".join(f"{begin} {', '.join(found)}" for begin, found in parts.items() if found))


def _state(trigger: str, patchers: Mapping[str, ModulePatcher]) -> str:
    prefix = f"{_package_of(trigger)}."
    if any(name.startswith(prefix) and one.has_patches for name, one in patchers.items()):
        return "observed"
    return "unknown" if trigger in sys.modules else "absent"


def _package_of(trigger: str) -> str:
    return trigger.removesuffix(".client")
