"""The wheel is complete, its dependencies resolve, and importing promptcache loads little."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from promptcache.version import __version__
from tests.conftest import SYSTEM_ENVIRON
from tests.support.wheel import list_differences, wheel_files, wheel_metadata

ROOT = Path(__file__).parent.parent
README_LINE = "pip install opentelemetry-distro opentelemetry-exporter-otlp promptcache"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_contains_the_files_of_the_tree(wheel: Path) -> None:
    assert list_differences(wheel) == []
    files = wheel_files(wheel)
    assert {"promptcache/py.typed", "promptcache_exporters/py.typed"} <= files.keys()
    assert "License-Expression: Apache-2.0" in wheel_metadata(wheel)
    with zipfile.ZipFile(wheel) as archive:
        licences = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
    assert len(licences) == 1


def test_differences_between_wheel_and_tree_are_listed(wheel: Path, tmp_path: Path) -> None:
    changed = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "promptcache/py.typed":
                continue
            target.writestr(
                name, content + b"# edited" if name == "promptcache/version.py" else content
            )
        target.writestr("promptcache/more.py", "")
    assert list_differences(changed, "v99") == [
        "only in the tree: promptcache/py.typed",
        "only in the wheel: promptcache/more.py",
        "differs: promptcache/version.py",
        f"the tag is v99, the version of the wheel is ['{__version__}']",
    ]


def test_the_base_install_needs_three_packages_without_exact_pins(wheel: Path) -> None:
    metadata = wheel_metadata(wheel)
    names = re.findall(r"^Requires-Dist: ([\w.-]+)(?!.*extra ==)", metadata, re.MULTILINE)
    assert set(names) == {"opentelemetry-api", "opentelemetry-instrumentation", "wrapt"}
    assert "==" not in " ".join(re.findall(r"^Requires-Dist: (.*?)(?:;|$)", metadata, re.MULTILINE))


def test_the_install_command_of_the_readme_resolves_to_current_releases(
    wheel: Path, tmp_path: Path
) -> None:
    """With a wrong minimum version pip silently installs a distro of 2024 (0.48b0)."""
    assert README_LINE in (ROOT / "README.md").read_text()
    packages = [str(wheel) if name == "promptcache" else name for name in README_LINE.split()[2:]]
    report = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--ignore-installed",
            "--quiet",
            *packages,
            "--report",
            tmp_path / "report.json",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=SYSTEM_ENVIRON,
    )
    assert report.returncode == 0, report.stderr
    versions = {
        item["metadata"]["name"]: item["metadata"]["version"]
        for item in json.loads((tmp_path / "report.json").read_text())["install"]
    }
    assert versions["opentelemetry-distro"] == versions["opentelemetry-instrumentation"]
    minor = int(versions["opentelemetry-distro"].split(".")[1].split("b")[0])
    assert minor >= 57
    assert int(versions["opentelemetry-api"].split(".")[1]) >= 36
    assert "openai" not in versions
    assert "rich" not in versions


HEAVY_MODULES = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "openai",
    "anthropic",
    "google.genai",
    "botocore",
    "typer",
    "rich",
    "starlette",
    "uvicorn",
    "genai_prices",
    "yaml",
    "duckdb",
    "promptcache_exporters",
    "promptcache.cli",
    "promptcache_emulator",
    "sqlite3",
    "httpx",
    "httpx2",
    "pydantic",
)


def test_the_instrumentor_imports_nothing_heavy() -> None:
    program = (
        "import sys; from promptcache.instrumentor import PromptCacheInstrumentor;"
        "PromptCacheInstrumentor().instrument();"
        f"print(*[name for name in {HEAVY_MODULES!r} if name in sys.modules])"
    )
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "COVERAGE", "COV_"))
    }
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert process.stdout.strip() == ""
    assert process.stderr == ""
