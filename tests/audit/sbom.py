"""Write the bill of materials of an installed environment, as CycloneDX JSON.

    make sbom

cyclonedx-py leaves out the version of a project that computes it at build time. It is added here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from promptcache.version import __version__

ROOT: Final = Path(__file__).resolve().parent.parent.parent


def make_sbom(program: str, python: str) -> dict[str, Any]:
    """Return the bill of materials of the environment of `python`; `program` is cyclonedx-py."""
    command = [program, "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    options = ["--mc-type", "library", "--output-reproducible", "--of", "JSON", "-o", "-", python]
    process = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True)
    sbom: dict[str, Any] = json.loads(process.stdout)
    version = {"version": __version__, "purl": f"pkg:pypi/promptcache@{__version__}"}
    sbom["metadata"]["component"] |= version
    return sbom


def main(program: str, python: str, out: str) -> None:
    """Write the bill of materials to the file `out`, and print how many packages it has."""
    sbom = make_sbom(program, python)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")
    print(f"{out}: promptcache {__version__} and {len(sbom['components'])} packages")


if __name__ == "__main__":
    main(*sys.argv[1:])
