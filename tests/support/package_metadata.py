"""Write the metadata that an installation of this checkout would have.

The environment may hold an older installation, whose entry points differ from the checkout's.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.support.wheel import ROOT


def declared_entry_points() -> dict[str, dict[str, str]]:
    """Return the entry points of pyproject.toml: group, then name, then object."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"console_scripts": project["scripts"], **project["entry-points"]}


def write_package_metadata(folder: Path, entry_points: dict[str, dict[str, str]]) -> None:
    """Write the `.dist-info` of promptcache with these entry points into `folder`.

    Python takes the metadata of the first folder of `sys.path` that has any.
    """
    info = folder / "promptcache-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: promptcache\nVersion: 0\n")
    lines = [
        line
        for group, points in entry_points.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
