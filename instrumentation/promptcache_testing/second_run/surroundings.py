"""What is different in the second process: clock, hash seed, random seed, zone, locale, folder."""

from __future__ import annotations

import os
import random
import subprocess
import time
import zoneinfo
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

CLOCK_SHIFT_S: Final = (32 * 24 + 5) * 3600
"""Another hour, day, weekday and month."""
_ZONES: Final = ("Asia/Kathmandu", "America/St_Johns")
_LANGUAGES: Final = ("de", "fr", "tr", "ja", "es", "it", "pt", "ru", "sv", "nl")
_MAX_SEED: Final = 2**32 - 1


def changed_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of the second process that differ."""
    given = environ.get("PYTHONHASHSEED", "random")
    seed = int(given) + 1 if given.isdigit() else random.SystemRandom().randrange(1, _MAX_SEED)
    language = _other_locale(environ)
    return {
        "PYTHONHASHSEED": str(seed % _MAX_SEED),
        "TZ": _other_zone(),
        "LC_ALL": language,
        "LANG": language,
        "LANGUAGE": language,
    }


def _other_zone() -> str:
    """Return a time zone with another offset, by a name that this machine knows."""
    here = datetime.now().astimezone().utcoffset()
    known = [name for name in _ZONES if any((Path(p) / name).exists() for p in zoneinfo.TZPATH)]
    now = datetime.now(UTC)
    others = [name for name in known if now.astimezone(zoneinfo.ZoneInfo(name)).utcoffset() != here]
    return others[0] if others else "XST-5:45"


def _other_locale(environ: Mapping[str, str]) -> str:
    """Return another locale whose encoding is UTF-8; `C` becomes that in Python by itself."""
    current = environ.get("LC_ALL") or environ.get("LANG") or "C"
    installed: list[str] = []
    with suppress(OSError, subprocess.SubprocessError):
        command = ["locale", "-a"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  # a fixed command of POSIX
        installed = [one for one in done.stdout.split() if one.lower().endswith(("utf8", "utf-8"))]
    for language in _LANGUAGES:
        for name in installed:
            if name.startswith(f"{language}_") and current[:2] != language:
                return name
    return "C.UTF-8" if current in ("C", "POSIX") else "C"


def make_other_folder(parent: Path) -> Path:
    """Return a new folder with links to everything in the working folder.

    Relative paths still find their files, but the path of the working folder is another one.
    Return the working folder itself where links are not allowed.
    """
    here = Path.cwd()
    folder = parent / f"{here.name or 'root'}-second"
    folder.mkdir()
    try:
        for entry in here.iterdir():
            (folder / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    except OSError:
        return here
    return folder


def change_surroundings(folder: str, seed: int) -> None:
    """Change this process: its folder, its clock and its random numbers, until it ends."""
    import time_machine

    os.chdir(folder)
    random.seed(seed)
    time_machine.travel(time.time() + CLOCK_SHIFT_S, tick=True).start()
