"""`opentelemetry-instrument` leaves the arguments of an application alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.package_metadata import declared_entry_points, write_package_metadata
from tests.support.wheel import ROOT

ECHO_PROGRAM: Final = "import sys; print(sys.argv[1:])"
QUIET: Final = dict.fromkeys(
    ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none"
)


def launch(search_path: list[Path], *arguments: str) -> tuple[int, str, str]:
    """Run the echoing program under the launcher; return exit code, output and last error line.

    The folders of `search_path` come before the environment's own packages.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "from opentelemetry.instrumentation.auto_instrumentation import run; run()",
            sys.executable,
            "-c",
            ECHO_PROGRAM,
            *arguments,
        ],
        capture_output=True,
        text=True,
        env=environ | QUIET | {"PYTHONPATH": os.pathsep.join(map(str, search_path))},
    )
    return process.returncode, process.stdout.strip(), process.stderr.strip()[-300:]


@pytest.fixture(scope="module")
def with_us(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The search path of an environment in which this checkout is installed."""
    folder = tmp_path_factory.mktemp("installed")
    write_package_metadata(folder, declared_entry_points())
    return [folder, ROOT / "instrumentation", ROOT / "exporters"]


@pytest.fixture(scope="module")
def without_us(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The search path of an environment in which our entry points do not exist."""
    folder = tmp_path_factory.mktemp("absent")
    write_package_metadata(folder, {})
    return [folder]


@pytest.mark.parametrize("flag", ["--prompt", "--promptcache", "--promptcache_db", "--hash"])
def test_an_application_receives_its_own_flags(with_us: list[Path], flag: str) -> None:
    assert launch(with_us, flag, "hi") == (0, str([flag, "hi"]), "")


@pytest.mark.parametrize("flag", ["--p", "--prop", "--e", "--s"])
def test_a_flag_means_what_it_means_without_promptcache(
    with_us: list[Path], without_us: list[Path], flag: str
) -> None:
    assert launch(with_us, flag, "none") == launch(without_us, flag, "none")
