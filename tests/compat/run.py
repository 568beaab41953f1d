"""The call-shape matrix against releases of the SDKs that people still run: one virtual environment each, one table.

    python tests/compat/run.py ["openai==2.0.0 openai==1.50.0,httpx<0.28"]

A release is a requirement, with others behind commas. Without arguments: the newest, the oldest that we claim, and
those between at which the SDK's insides changed. Exits with 1 if a test fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).resolve().parent.parent.parent
FOLDER: Final = ROOT / ".venv-compat"
PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")
TESTS: Final = ("tests/test_matrix.py", "tests/test_endings.py")
NEEDED: Final = ("--editable", f"{ROOT}[sdk,emulator]", "hypothesis", "pytest>=8", "pytest-asyncio>=0.24")

RELEASES: Final = (
    "openai",
    "openai==3.0.0",
    "openai==2.54.0",  # the last 2.x, on httpx
    "openai==2.20.0",
    "openai==1.109.1",  # the last 1.x
    "openai==1.40.0,httpx<0.28",  # the oldest that we claim; httpx 0.28 took away an argument that it passes
)


@dataclass(frozen=True)
class Result:
    """What became of one release."""

    installed: str
    passed: int
    failed: list[str]
    seconds: float


def check(release: str) -> Result:
    """Installs `release` into its environment and runs the matrix there."""
    folder = FOLDER / release.partition(",")[0]
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, *PIP, "--upgrade", *release.split(","), *NEEDED], check=True)
    distribution = release.partition("=")[0]
    shown = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    installed = subprocess.run([python, "-c", shown], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    report, started = folder / "report.xml", time.monotonic()
    ended = subprocess.run(
        [python, "-m", "pytest", "--tb=short", f"--junitxml={report}", *TESTS],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    seconds = time.monotonic() - started
    if ended.returncode:
        print(ended.stdout)
    if ended.returncode not in (0, 1):
        return Result(f"{distribution} {installed}", 0, ["pytest could not run"], seconds)
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [str(case.get("name")) for case in cases if any(child.tag in {"failure", "error"} for child in case)]
    skipped = sum(child.tag == "skipped" for case in cases for child in case)
    return Result(f"{distribution} {installed}", len(cases) - len(failed) - skipped, failed, seconds)


def main(releases: tuple[str, ...]) -> int:
    """Checks all releases, then prints the table."""
    results = [check(release) for release in releases]
    print(f"{'release':<20} {'passed':>6} {'failed':>6} {'seconds':>8}")
    for result in results:
        print(f"{result.installed:<20} {result.passed:>6} {len(result.failed):>6} {result.seconds:>8.0f}")
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(tuple(" ".join(sys.argv[1:]).split()) or RELEASES))
