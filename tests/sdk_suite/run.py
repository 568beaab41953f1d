"""The SDKs' own tests, plain and then instrumented: what fails only with us is a difference that
the application sees.

    python tests/sdk_suite/run.py [openai | anthropic | google-genai]

Fetches the source distribution of the installed release (it is never committed), makes a virtual
environment with the test dependencies that it names, runs the tests that need no live mock server,
warnings as errors where the SDK sets them so, and prints the new failures. Exits with 1 if there
are any, or if a step of ours failed inside.
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
STAINLESS: Final = (
    "tests/test_client.py",
    "tests/test_streaming.py",
    "tests/test_response.py",
    "tests/lib",
)

GOOGLE: Final = (
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
    """How one SDK is tested. `control` is the side that the instrumented one is compared with.

    `contract` names what must differ: a pattern of test and failure, and why we do what the test
    says nobody does.
    """

    tests: tuple[str, ...]
    extras: str
    groups: tuple[str, ...] = ("dev", "pydantic-v2")
    more: tuple[str, ...] = ()
    control: str = "plain"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    contract: Mapping[str, str] = field(default_factory=dict[str, str])


SUITES: Final = {
    "openai": Suite(
        (*STAINLESS, "tests/test_legacy_response.py"),
        extras="aiohttp,realtime,bedrock,vertex,datalib,voice_helpers",
        environment={"DEFER_PYDANTIC_BUILD": "false"},
    ),
    # Traces itself as soon as there is a tracer provider, which some of its tests notice.
    "anthropic": Suite(
        (
            *STAINLESS,
            "tests/test_tracing.py",
            "tests/test_open_telemetry.py",
            "tests/test_middleware.py",
        ),
        extras="aiohttp,vertex,bedrock,mcp,webhooks",
        control="provider",
        contract={
            r"assert 'gen_ai\.[\w.]+' not in \{'server\.addr": "what their span lacks is added, as soon as it is known",
            r"assert \{'server\.addr.*\} == \{'gen_ai\.": "what their span lacks is added",
            r"::test_disabled_spans_call_nothing_of_open|in function:\d+": "a call without their span gets one",
            r"::test_false_keeps_a_span_that_the_sampler_dropped.*not True": "a call without their span gets one",
        },
    ),
    # The other folders are answered from recordings, which are in no distribution; some tests in
    # these too. Without the option its tests would import the SDK as `genai`, by which name nobody
    # knows it.
    "google-genai": Suite(
        tuple(f"google/genai/tests/{folder}" for folder in GOOGLE),
        extras="aiohttp",
        groups=(),
        more=("pytest", "pytest-asyncio", "pytest-xdist", "httpx", "mcp", "pillow"),
        control="provider",
        environment={"PYTEST_ADDOPTS": "-n 2 -o consider_namespace_packages=true"},
    ),
}


def fetch(sdk: str, folder: Path) -> Path:
    """The unpacked source of the release that is installed here."""
    release = version(sdk)
    source = folder / f"{sdk.replace('-', '_')}-{release}"
    if not source.is_dir():
        wanted = f"{sdk}=={release}"
        download = (
            *PIP,
            "download",
            "--no-deps",
            "--no-binary",
            sdk,
            "--dest",
            str(folder),
            wanted,
        )
        subprocess.run([sys.executable, *download], check=True)
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return source


def environment(sdk: str, suite: Suite, source: Path, folder: Path) -> Path:
    """The Python of a virtual environment with the SDK, what its tests need, and ourselves."""
    python = folder / "env" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "env", with_pip=True)
        # The first pip that knows dependency groups is younger than some Pythons.
        subprocess.run([python, *PIP, "install", "pip>=25.1"], check=True)
    groups = [
        part
        for group in suite.groups
        for part in ("--group", f"{source / 'pyproject.toml'}:{group}")
    ]
    wanted = [f"{sdk}[{suite.extras}]=={version(sdk)}", *suite.more, "--editable", f"{ROOT}[sdk]"]
    subprocess.run([python, *PIP, "install", *groups, *wanted], check=True)
    return python


def run(
    side: str, suite: Suite, source: Path, python: Path, *, again: bool = False
) -> Mapping[str, str | None]:
    """Every test's failure, None where it passed or was skipped; `again` runs only those that
    failed on this side."""
    report = source.parent / f"{side}.xml"
    more = {**suite.environment, "SDK_SUITE": side, "PYTHONPATH": str(HERE)}
    print(f"\n== {side}", flush=True)
    quiet = (
        "-q",
        "--tb=no",
        "--show-capture=no",
        "--disable-warnings",
        "-o",
        f"cache_dir={report.with_suffix('.cache')}",
    )
    some = ["--last-failed"] if again else []
    ended = subprocess.run(
        [
            python,
            "-m",
            "pytest",
            "-p",
            "plugin",
            *quiet,
            *some,
            f"--junitxml={report}",
            *suite.tests,
        ],
        cwd=source,
        env=os.environ | more,
        stdout=subprocess.PIPE,
        text=True,
    )
    if ended.returncode not in (0, 1):
        sys.exit(f"pytest could not run:\n{ended.stdout[-4000:]}")
    shown = [
        line
        for line in ended.stdout.splitlines()
        if line.startswith("promptcache") or " passed" in line
    ]
    print(*shown, sep="\n", flush=True)
    failures: dict[str, str | None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        bad = next((child for child in case if child.tag in {"failure", "error"}), None)
        name = f"{case.get('classname')}::{case.get('name')}"
        failures[name] = None if bad is None else (bad.get("message") or "failed")
    failures |= dict.fromkeys(
        re.findall("promptcache said: .*", ended.stdout), "a step of ours failed"
    )
    if side == "promptcache" and "promptcache: 0 spans" in ended.stdout:
        failures["promptcache"] = "no test was instrumented"
    return failures


def _meant(suite: Suite, name: str, error: str) -> str | None:
    """Why a test must fail beside us, if it must."""
    said = f"{name}: {' '.join(error.split())}"
    return next(
        (reason for pattern, reason in suite.contract.items() if re.search(pattern, said)), None
    )


def main(sdk: str) -> int:
    """Compares the two sides of one SDK."""
    suite = SUITES[sdk]
    folder = ROOT / f".venv-sdk-suite-{sdk}"
    folder.mkdir(exist_ok=True)
    source = fetch(sdk, folder)
    python = environment(sdk, suite, source, folder)
    print(f"{sdk} {version(sdk)}: {' '.join(suite.tests)}")
    control, ours = (run(side, suite, source, python) for side in (suite.control, "promptcache"))
    new = {
        name: error
        for name, error in ours.items()
        if error is not None and control.get(name) is None
    }
    if new:
        # Some wait for a clock: on a busy machine they fail now and then, on either side.
        still = run("promptcache", suite, source, python, again=True)
        new = {
            name: error
            for name, error in new.items()
            if name not in still or still[name] is not None
        }
    differs = {name: _meant(suite, name, error) for name, error in new.items()}
    new = {name: error for name, error in new.items() if differs[name] is None}
    missing = control.keys() - ours.keys()
    print(
        f"\n{len(control)} tests, {sum(map(bool, control.values()))} fail without us (no mock server, no network)"
    )
    print(f"new failures: {len(new)}, tests that did not run: {len(missing)}")
    for reason, count in Counter(filter(None, differs.values())).items():
        print(f"differ as they must: {count}, {reason}")
    for name, error in new.items():
        print(f"  {name}: {error.splitlines()[0][:160]}")
    return 1 if new or missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "openai"))
