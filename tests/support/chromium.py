"""Take pictures of pages with Chromium, without a window and without the network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the program, None if it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def take_picture(
    address: str, picture: Path, width: int, height: int, *, is_dark: bool = False
) -> None:
    """Write a PNG of the page at `address`, `width` times `height` pixels."""
    program = find_chromium()
    assert program, "install chromium"
    with TemporaryDirectory() as profile:
        subprocess.run(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--force-color-profile=srgb",
                f"--user-data-dir={profile}",
                f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
                f"--window-size={width},{height}",
                f"--screenshot={picture}",
                "--virtual-time-budget=1500",
                address,
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
