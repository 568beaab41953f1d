"""Run the call-shape matrix with many releases of the SDKs, each in a virtual environment.

    python tests/compat/run.py ["oldest openai==2.0.0 openai==1.50.0,httpx<0.28"]
    python tests/compat/run.py --lock

An argument is a name in `NAMED_ENVIRONMENTS`, or requirements separated by commas. Without
arguments: the oldest and the newest releases, some between, and releases at which the internals of
an SDK changed. Prints a table. Exits with 1 if a test fails, or if no call was made with a pinned
SDK. `--lock` renews requirements/compat-*.txt, from which the environments of `LOCKED` are
installed: .ci/run uses these, so that a release of another project does not fail it. The lower
bounds come from pyproject.toml, so that the tested releases are the claimed ones.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).resolve().parent.parent.parent
FOLDER: Final = ROOT / ".venv-compat"
TOOLS: Final = FOLDER / "tools"
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MINIMUM_RELEASES: Final = {
    name: need
    for need in PROJECT["optional-dependencies"]["instruments-any"]
    for name in re.findall(r"^[\w-]+", need)
}
"""SDK -> the oldest supported release, as `name>=version`."""
TESTS: Final = tuple(
    f"tests/test_{name}.py" for name in ("matrix", "stream_endings", "contract", "transparent")
)
TESTS_OF_LATER_RELEASES: Final = ("tests/test_socket.py", "tests/test_native.py")
ADDITIONAL_TESTS: Final = {
    "middle": ("tests/test_socket.py::test_realtime_counts_requested_and_unrequested_responses",),
    "late": TESTS_OF_LATER_RELEASES,
    # Bedrock's async client (aiobotocore) is in no other environment.
    "newest": (*TESTS_OF_LATER_RELEASES, "tests/test_exit.py"),
    "free-threaded": ("tests/test_memory.py", "tests/test_load.py", *TESTS_OF_LATER_RELEASES),
}
"""Environment -> tests of features that only its releases have, such as WebSockets."""
EXTRAS: Final = ("sdk", "emulator")
"""Extras of this checkout that the tests need."""
TOOLS_NEEDED: Final = ("hypothesis>=6.100", "pytest>=8", "pytest-asyncio>=0.24")
CHECKOUT_AND_TOOLS: Final = (f"--editable={ROOT}[{','.join(EXTRAS)}]", *TOOLS_NEEDED)
PARALLEL_ENVIRONMENTS: Final = 2


def pin_minimum(*sdks: str) -> str:
    """Return pins of the oldest supported releases."""
    return ",".join(MINIMUM_RELEASES[sdk].replace(">=", "==") for sdk in sdks)


NAMED_ENVIRONMENTS: Final = {
    # httpx 0.28 removed an argument that these SDKs pass. google-genai needs httpx 0.28.
    "oldest": f"{pin_minimum('openai', 'anthropic', 'groq', 'botocore')},boto3<1.36,httpx==0.27.*",
    # google-genai of that time warns with later releases of pydantic.
    "middle": f"{pin_minimum('google-genai', 'aiobotocore')},openai==1.109.1,anthropic==1.0.0,"
    "pydantic<2.12,wrapt==1.17.*,opentelemetry-sdk==1.40.0",
    "late": "openai==2.54.0,anthropic==1.17.0,google-genai==2.34.0,aiobotocore==3.0.0,wrapt==2.0.*",
    # The newest OpenTelemetry that google-adk 2.13 allows. pip falls back to it beside google-adk.
    "neighbours": "google-genai,opentelemetry-sdk==1.44.0,opentelemetry-instrumentation==0.65b0",
    "newest": "google-genai,aiobotocore",
    # Run by hand, with a Python without the GIL:
    # `make compat PYTHON=python3.13t RELEASES=free-threaded`. Packages without wheels for it are
    # left out or of 2025. A package that enables the GIL again warns, and that is an error.
    "free-threaded": "hypothesis<6.156,pydantic<2.12.4,jiter<0.16",
}
"""Name -> pins of many packages at once, from the oldest supported releases to the newest."""

LOCKED: Final = ("oldest", "middle", "late")
"""Environments whose packages are locked, with hashes, in requirements/compat-NAME.txt."""

OLDEST: Final = ("oldest", "--resolution=lowest-direct")
"""The environment with the oldest releases that pyproject.toml allows, and uv's option for it."""

RELEASES: Final = (
    "oldest",
    "middle",
    "late",
    "neighbours",
    "newest",
    "openai==3.0.0",
    "openai==2.20.0",
    "anthropic==2.0.0",
    "google-genai==3.0.0",
    "aiobotocore==2.23.0",
)

ALWAYS_INSTALLED: Final = ("openai", "anthropic", "groq", "boto3")
"""Packages that some test of every environment imports. The newest release, unless pinned."""

KITS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "groq": "groq",
    "google-genai": "google",
    "boto3": "bedrock",
}
"""SDK -> the name of its kit in `tests/support/sdks.py`, which skips missing SDKs."""


@dataclass
class Result:
    """The result of one environment."""

    environment: str
    passed: int = 0
    failed: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    def print_status(self, status: str) -> None:
        print(f"{self.environment:<14} {status}", flush=True)


def package_names(pins: list[str]) -> set[str]:
    """Return the names of the pinned packages."""
    return {name for pin in pins for name in re.findall(r"^[\w-]+", pin)}


def all_pins(release: str) -> list[str]:
    """Return the SDKs to install for `release`, with those that every environment has."""
    pins = NAMED_ENVIRONMENTS.get(release, release).split(",")
    return [*pins, *(sdk for sdk in ALWAYS_INSTALLED if sdk not in package_names(pins))]


def lock_file(name: str) -> Path:
    return ROOT / "requirements" / f"compat-{name}.txt"


def lock(name: str) -> None:
    """Renew the lock of the environment `name`."""
    extras = [f"--extra={extra}" for extra in EXTRAS]
    options = ["--quiet", "--upgrade", "--universal", "--generate-hashes", "--python-version=3.11"]
    options += ["--no-header", "--no-annotate", "--no-emit-index-url", "--group=build", *extras]
    options += [OLDEST[1]] if name == OLDEST[0] else []
    subprocess.run(
        [
            TOOLS / "bin" / "uv",
            "pip",
            "compile",
            *options,
            "-o",
            lock_file(name),
            "pyproject.toml",
            "-",
        ],
        input="\n".join([*all_pins(name), *TOOLS_NEEDED]),
        cwd=ROOT,
        text=True,
        check=True,
    )


def install(name: str, release: str) -> Path:
    """Make an environment and return its Python.

    uv installs, which resolves and fetches in seconds what takes pip minutes.
    """
    python = FOLDER / name / "bin" / "python"
    uv = str(TOOLS / "bin" / "uv")
    subprocess.run(
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, FOLDER / name], check=True
    )
    # Compile here: warnings about the source of a release are errors later, under pytest.
    install_command = [
        uv,
        "pip",
        "install",
        "--python",
        str(python),
        "--quiet",
        "--compile-bytecode",
    ]
    if release in LOCKED:
        subprocess.run([*install_command, "--require-hashes", "-r", lock_file(release)], check=True)
        checkout = ["--no-deps", "--no-build-isolation", f"--editable={ROOT}"]
        subprocess.run([*install_command, *checkout], check=True)
    else:
        subprocess.run([*install_command, *all_pins(release), *CHECKOUT_AND_TOOLS], check=True)
    return python


def find_untried_sdks(pins: list[str], cases: list[str]) -> Iterator[str]:
    """Yield a message for each pinned SDK with which no call was made."""
    for sdk in package_names(pins) & KITS.keys():
        if not any(f"[{KITS[sdk]}-" in case for case in cases):
            yield f"no call of {sdk} was tried"


def run_pytest(result: Result, command: list[str]) -> int:
    """Run pytest and print its progress, or all of its output if it fails."""
    lines = list[str]()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            lines.append(line)
            if line.endswith("%]\n"):
                result.print_status(line.rstrip())
    if process.returncode:
        result.print_status("".join(lines))
    return process.returncode


def check(release: str) -> Result:
    """Install `release` into its environment and run the matrix there."""
    name, pins = release.partition(",")[0], all_pins(release)
    result, report, started = Result(name), FOLDER / name / "report.xml", time.monotonic()
    try:
        python = install(name, release)
    except subprocess.CalledProcessError:
        result.failed.append("could not be installed")
        return result
    result.print_status(f"installed in {time.monotonic() - started:.0f} s")
    started = time.monotonic()
    command = [str(python), "-u", "-m", "pytest", "--tb=short", "-p", "no:cacheprovider"]
    status = run_pytest(
        result, [*command, f"--junitxml={report}", *TESTS, *ADDITIONAL_TESTS.get(name, ())]
    )
    result.seconds = time.monotonic() - started
    if status not in (0, 1):
        result.failed.append("pytest could not run")
        return result
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed_ids = {id(case) for case in cases for child in case if child.tag in {"failure", "error"}}
    result.failed += [str(case.get("name")) for case in cases if id(case) in failed_ids]
    result.failed += find_untried_sdks(pins, [str(case.get("name")) for case in cases])
    result.passed = sum(len(case) == 0 for case in cases)
    return result


def install_uv() -> None:
    venv.create(TOOLS, with_pip=True)
    pip = (str(TOOLS / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check")
    locked = ("--require-hashes", "-r", str(ROOT / "requirements" / "uv.txt"))
    subprocess.run([*pip, "install", *locked], check=True)


def main(releases: tuple[str, ...]) -> int:
    """Check all releases, two at a time, and print the table; or renew the locks."""
    install_uv()
    if releases == ("--lock",):
        for name in LOCKED:
            lock(name)
        return 0
    with ThreadPoolExecutor(PARALLEL_ENVIRONMENTS) as pool:
        results = list(pool.map(check, releases))
    print(f"\n{'environment':<24} {'passed':>6} {'failed':>6} {'seconds':>8}")
    for result in results:
        print(
            f"{result.environment:<24} {result.passed:>6} {len(result.failed):>6}"
            f" {result.seconds:>8.0f}"
        )
    for result in results:
        for failed in result.failed:
            print(f"{result.environment}: {failed}")
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(tuple(" ".join(sys.argv[1:]).split()) or RELEASES))
