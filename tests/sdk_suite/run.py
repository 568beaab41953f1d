"""Run the tests of an SDK plain and instrumented. A new failure is a difference for applications.

    python tests/sdk_suite/run.py [openai | anthropic | google-genai]

It downloads the source distribution of the installed release (it is never committed), makes a
virtual environment with its test dependencies, runs the tests that need no live mock server, with
warnings as errors if the SDK does so, and prints the new failures. It exits with 1 if there are any
or if our code logged a failure.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--quiet")
STAINLESS_TESTS: Final = (
    "tests/test_client.py",
    "tests/test_streaming.py",
    "tests/test_response.py",
    "tests/lib",
)

GOOGLE_TEST_FOLDERS: Final = (
    "afc",
    "chats",
    "client",
    "common",
    "errors",
    "gaos",
    "interactions",
    "live",
    "mcp",
    "models",
)


@dataclass(frozen=True)
class Suite:
    """The tests of one SDK. `control` is the mode that the instrumented run is compared with.

    `expected_failures` maps a pattern of test and failure to the reason why the test must fail.
    """

    tests: tuple[str, ...]
    extras: str
    groups: tuple[str, ...] = ("dev", "pydantic-v2")
    packages: tuple[str, ...] = ()
    control: str = "plain"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    expected_failures: Mapping[str, str] = field(default_factory=dict[str, str])


MISSING_ATTRIBUTE: Final = "promptcache adds an attribute that their span lacks"
MISSING_SPAN: Final = "promptcache adds a span to a call without their span"

SUITES: Final = {
    "openai": Suite(
        (*STAINLESS_TESTS, "tests/test_legacy_response.py"),
        extras="aiohttp,realtime,bedrock,vertex,datalib,voice_helpers",
        environment={"DEFER_PYDANTIC_BUILD": "false"},
    ),
    # The SDK traces itself if there is a tracer provider, and some of its tests depend on that.
    "anthropic": Suite(
        (
            *STAINLESS_TESTS,
            "tests/test_tracing.py",
            "tests/test_open_telemetry.py",
            "tests/test_middleware.py",
        ),
        extras="aiohttp,vertex,bedrock,mcp,webhooks",
        control="provider",
        expected_failures={
            r"assert 'gen_ai\.[\w.]+' not in \{'server\.addr": MISSING_ATTRIBUTE,
            r"assert \{'server\.addr.*\} == \{'gen_ai\.": MISSING_ATTRIBUTE,
            r"::test_disabled_spans_call_nothing_of_open|in function:\d+": MISSING_SPAN,
            r"::test_false_keeps_a_span_that_the_sampler_dropped.*not True": MISSING_SPAN,
        },
    ),
    # Tests in the other folders need recordings, which no distribution contains. Without the option
    # the tests import the SDK as `genai` instead of `google.genai`.
    "google-genai": Suite(
        tuple(f"google/genai/tests/{folder}" for folder in GOOGLE_TEST_FOLDERS),
        extras="aiohttp",
        groups=(),
        packages=("pytest", "pytest-asyncio", "pytest-xdist", "httpx", "mcp", "pillow"),
        control="provider",
        environment={"PYTEST_ADDOPTS": "-n 2 -o consider_namespace_packages=true"},
    ),
}


def download_source(sdk: str, folder: Path) -> Path:
    """Download and unpack the source of the installed release, and return its folder."""
    release = version(sdk)
    source = folder / f"{sdk.replace('-', '_')}-{release}"
    if not source.is_dir():
        requirement = f"{sdk}=={release}"
        download = (
            *PIP,
            "download",
            "--no-deps",
            "--no-binary",
            sdk,
            "--dest",
            str(folder),
            requirement,
        )
        subprocess.run([sys.executable, *download], check=True)
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return source


def create_environment(sdk: str, suite: Suite, source: Path, folder: Path) -> Path:
    """Create a virtual environment for the tests with promptcache, and return its Python."""
    python = folder / "env" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "env", with_pip=True)
        # Some Python releases contain a pip without support for dependency groups.
        subprocess.run([python, *PIP, "install", "pip>=25.1"], check=True)
    groups = [
        part
        for group in suite.groups
        for part in ("--group", f"{source / 'pyproject.toml'}:{group}")
    ]
    requirements = [
        f"{sdk}[{suite.extras}]=={version(sdk)}",
        *suite.packages,
        "--editable",
        f"{ROOT}[sdk]",
    ]
    subprocess.run([python, *PIP, "install", *groups, *requirements], check=True)
    return python


def run_tests(
    mode: str, suite: Suite, source: Path, python: Path, *, again: bool = False
) -> Mapping[str, str | None]:
    """Return the failure of each test, or None. With `again` run only the failed tests again."""
    report = source.parent / f"{mode}.xml"
    variables = {**suite.environment, "SDK_SUITE": mode, "PYTHONPATH": str(HERE)}
    print(f"\n== {mode}", flush=True)
    output_options = (
        "-q",
        "--tb=no",
        "--show-capture=no",
        "--disable-warnings",
        "-o",
        f"cache_dir={report.with_suffix('.cache')}",
    )
    selection = ["--last-failed"] if again else []
    process = subprocess.run(
        [
            python,
            "-m",
            "pytest",
            "-p",
            "plugin",
            *output_options,
            *selection,
            f"--junitxml={report}",
            *suite.tests,
        ],
        cwd=source,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.returncode not in (0, 1):
        sys.exit(f"pytest could not run:\n{process.stdout[-4000:]}")
    lines = [
        line
        for line in process.stdout.splitlines()
        if line.startswith("promptcache") or " passed" in line
    ]
    print(*lines, sep="\n", flush=True)
    failures: dict[str, str | None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failure = next((child for child in case if child.tag in {"failure", "error"}), None)
        name = f"{case.get('classname')}::{case.get('name')}"
        failures[name] = None if failure is None else (failure.get("message") or "failed")
    failures |= dict.fromkeys(
        re.findall("promptcache logged: .*", process.stdout), "our code logged a failure"
    )
    if mode == "promptcache" and "promptcache: 0 spans" in process.stdout:
        failures["promptcache"] = "no test was instrumented"
    return failures


def _expected_failure_reason(suite: Suite, name: str, error: str) -> str | None:
    """Return why a test is expected to fail with promptcache, or None."""
    description = f"{name}: {' '.join(error.split())}"
    return next(
        (
            reason
            for pattern, reason in suite.expected_failures.items()
            if re.search(pattern, description)
        ),
        None,
    )


def main(sdk: str) -> int:
    """Compare the control run and the instrumented run of one SDK."""
    suite = SUITES[sdk]
    folder = ROOT / f".venv-sdk-suite-{sdk}"
    folder.mkdir(exist_ok=True)
    source = download_source(sdk, folder)
    python = create_environment(sdk, suite, source, folder)
    print(f"{sdk} {version(sdk)}: {' '.join(suite.tests)}")
    control, ours = (
        run_tests(mode, suite, source, python) for mode in (suite.control, "promptcache")
    )
    new = {
        name: error
        for name, error in ours.items()
        if error is not None and control.get(name) is None
    }
    if new:
        # Tests that depend on time fail sometimes on a busy machine, in both modes.
        second_run = run_tests("promptcache", suite, source, python, again=True)
        new = {
            name: error
            for name, error in new.items()
            if name not in second_run or second_run[name] is not None
        }
    expected_reasons = {
        name: _expected_failure_reason(suite, name, error) for name, error in new.items()
    }
    new = {name: error for name, error in new.items() if expected_reasons[name] is None}
    missing = control.keys() - ours.keys()
    failed_without = sum(map(bool, control.values()))
    print(f"\n{len(control)} tests, {failed_without} fail without us (no mock server, no network)")
    print(f"new failures: {len(new)}, tests that did not run: {len(missing)}")
    for reason, count in Counter(filter(None, expected_reasons.values())).items():
        print(f"expected failures: {count}, {reason}")
    for name, error in new.items():
        print(f"  {name}: {error.splitlines()[0][:160]}")
    return 1 if new or missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "openai"))
