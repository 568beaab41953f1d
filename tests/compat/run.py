"""The call-shape matrix against releases of the SDKs that people still run: one virtual environment each, one table.

    python tests/compat/run.py ["oldest openai==2.0.0 openai==1.50.0,httpx<0.28"]

An environment is one of `TOGETHER` by name, or a requirement, with others behind commas. Without arguments: the newest
of everything, releases at which an SDK's insides changed, and everything old together. Exits with 1 if a test fails.
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
TESTS: Final = ("tests/test_matrix.py", "tests/test_endings.py", "tests/test_contract.py")
NEEDED: Final = ("--editable", f"{ROOT}[sdk,emulator]", "hypothesis", "pytest>=8", "pytest-asyncio>=0.24")

TOGETHER: Final = {
    # Converse has cache points only in later releases of botocore.
    # httpx 0.28 took away an argument that these two SDKs pass, and google-genai asks for it.
    "oldest": "openai==1.40.0,anthropic==0.40.0,httpx<0.28,boto3==1.35.81,aiobotocore==2.16.0,wrapt==1.14.*,"
    "opentelemetry-api==1.36.0,opentelemetry-sdk==1.36.0,opentelemetry-instrumentation==0.57b0,opentelemetry-distro==0.57b0",
    "middle": "openai==1.109.1,anthropic==1.0.0,google-genai==1.30.0,wrapt==1.17.*,opentelemetry-api==1.40.0,"
    "opentelemetry-sdk==1.40.0",
    "late": "openai==2.54.0,anthropic==1.17.0,google-genai==2.34.0,wrapt==2.0.*",
    "newest": "openai,anthropic,google-genai,boto3,aiobotocore,wrapt,opentelemetry-sdk",
}
"""Names of environments that pin many things at once: what we claim to work with, from end to end."""

APART: Final = {"oldest": "not bedrock-claude and not claude- and not converse"}
"""Which tests an environment leaves out: no cache points there yet, and clients that leave themselves open."""

RELEASES: Final = (
    *TOGETHER,
    "openai==3.0.0",
    "openai==2.20.0",
    "anthropic==2.0.0,openai",
    "google-genai==3.0.0,openai",
)


@dataclass(frozen=True)
class Result:
    """What became of one release."""

    environment: str
    passed: int
    failed: list[str]
    seconds: float


def check(release: str) -> Result:
    """Installs `release` into its environment and runs the matrix there."""
    folder, pins = FOLDER / release.partition(",")[0], TOGETHER.get(release, release)
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, *PIP, "--upgrade", *pins.split(","), *NEEDED], check=True)
    report, started = folder / "report.xml", time.monotonic()
    ended = subprocess.run(
        [python, "-m", "pytest", "--tb=short", f"--junitxml={report}", *TESTS, "-k", APART.get(release, "")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    seconds = time.monotonic() - started
    if ended.returncode:
        print(ended.stdout)
    if ended.returncode not in (0, 1):
        return Result(release, 0, ["pytest could not run"], seconds)
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [str(case.get("name")) for case in cases if any(child.tag in {"failure", "error"} for child in case)]
    skipped = sum(child.tag == "skipped" for case in cases for child in case)
    return Result(release, len(cases) - len(failed) - skipped, failed, seconds)


def main(releases: tuple[str, ...]) -> int:
    """Checks all releases, then prints the table."""
    results = [check(release) for release in releases]
    print(f"{'environment':<24} {'passed':>6} {'failed':>6} {'seconds':>8}")
    for result in results:
        print(f"{result.environment:<24} {result.passed:>6} {len(result.failed):>6} {result.seconds:>8.0f}")
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(tuple(" ".join(sys.argv[1:]).split()) or RELEASES))
