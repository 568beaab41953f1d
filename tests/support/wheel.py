"""Compare a built wheel with the tree: `python -m tests.support.wheel dist/NAME.whl [TAG]`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
SOURCE_ROOTS: Final = ("instrumentation", "exporters")
RUNBOOKS: Final = "promptcache_exporters/alerts/generated/runbooks"
"""The folder of the pages of docs/runbooks in a wheel."""


def tree_files() -> dict[str, bytes]:
    """Map the path of each file in a wheel to its content in the tree."""
    files = {
        f"{RUNBOOKS}/{page.name}": page.read_bytes() for page in ROOT.glob("docs/runbooks/*.md")
    }
    for root in SOURCE_ROOTS:
        for path in (ROOT / root).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                files[path.relative_to(ROOT / root).as_posix()] = path.read_bytes()
    return files


def wheel_files(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name
        }


def wheel_metadata(wheel: Path) -> str:
    """Return the METADATA file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def list_differences(wheel: Path, tag: str = "") -> list[str]:
    """Return a line for each file that differs, and for a version that is not `tag`."""
    tree, inside = tree_files(), wheel_files(wheel)
    lines = [f"only in the tree: {name}" for name in sorted(tree.keys() - inside.keys())]
    lines += [f"only in the wheel: {name}" for name in sorted(inside.keys() - tree.keys())]
    lines += [
        f"differs: {name}"
        for name in sorted(tree.keys() & inside.keys())
        if tree[name] != inside[name]
    ]
    versions = [
        line[9:] for line in wheel_metadata(wheel).splitlines() if line.startswith("Version: ")
    ]
    if tag and versions != [tag.removeprefix("v")]:
        lines.append(f"the tag is {tag}, the version of the wheel is {versions}")
    return lines


def main(wheel: str, tag: str = "") -> int:
    """Print all differences. Return 1 if there are any."""
    lines = list_differences(Path(wheel), tag)
    print("\n".join(lines) or f"{Path(wheel).name} holds exactly what the tree holds")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
