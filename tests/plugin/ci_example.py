"""Run examples/ci as its pages say: it passes, and its pull request fails.

    python tests/plugin/ci_example.py

It exits with 1 if an outcome is another one, or if docs/ci.md shows other output than pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = ROOT / "examples" / "ci"
OPTIONS: Final = ("--promptcache", "--promptcache-twice")
COMMAND: Final = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *OPTIONS)
SECONDS: Final = re.compile(r"\d+\.\d+ ?s|\d+\.\d%|\d,\d{3}(?=  )")
"""What differs from run to run: times, and the tokens of random ids."""


def run(folder: Path) -> tuple[int, str]:
    """Run the example's tests, and return the exit code and the output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        COMMAND, cwd=folder, capture_output=True, text=True, env={**environ, "COLUMNS": "120"}
    )
    return done.returncode, done.stdout


def lines_of_page() -> list[str]:
    """Return the lines of the output of the pull request that docs/ci.md shows."""
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    return [SECONDS.sub("", line).rstrip() for block in blocks for line in block.splitlines()]


def main() -> int:
    """Run both states, and return the exit code."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "ci"
        shutil.copytree(EXAMPLE, folder)
        code, output = run(folder)
        if code:
            print(output, "the example fails", sep="\n")
            return 1
        patch = ["git", "apply", "pull_request.patch"]
        subprocess.run(patch, cwd=folder, check=True, env={**os.environ, "GIT_DIR": "none"})
        code, output = run(folder)
        print(output)
        if code != 1:
            print("the pull request does not fail")
            return 1
        shown = {SECONDS.sub("", line).rstrip() for line in output.splitlines()}
        missing = [line for line in lines_of_page() if line not in shown]
        print(*(f"docs/ci.md shows another line: {line}" for line in missing), sep="\n")
        return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
