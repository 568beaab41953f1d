"""Test the pytest plugin with real mocks, real agents and the oldest pytest that we claim.

    python tests/plugin/run.py ["newest oldest"]
    python tests/plugin/run.py --lock

Without arguments all environments are tested. It exits with 1 if a test has another outcome than it
must have: of the agents only the stable ones pass. `--lock` renews requirements/plugin-*.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).resolve().parent
EXTRAS: Final = ("pytest",)
"""Extras of this checkout that every environment has."""
SDKS: Final = ("openai", "anthropic", "groq", "google-genai", "boto3", "aiobotocore")


@dataclass(frozen=True)
class Environment:
    """Packages, what to test with them, and the agents, which must fail with a clock."""

    packages: tuple[str, ...]
    tests: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()


ENVIRONMENTS: Final = {
    "newest": Environment(
        (
            *("respx", "vcrpy", "pytest-httpx", "moto", "boto3", "requests", "httpx2"),
            *("langchain", "langchain-openai", "pydantic-ai-slim[openai]", "openai-agents"),
            *("agno", "anthropic", "openai"),
        ),
        ("tests/plugin/mocks", "tests/plugin/answers"),
        ("agno", "langgraph", "openai_agents", "pydantic_ai"),
    ),
    # LlamaIndex does not allow the newest OpenAI SDK. The older one is built on httpx.
    "httpx": Environment(
        ("llama-index-core>=0.14", "llama-index-llms-openai>=0.8", "openai<3"),
        agents=("llama_index",),
    ),
    "oldest": Environment(
        (
            *("pytest==8.0.*", "pytest-asyncio==0.23.*", "pytest-xdist==3.6.*", "hypothesis"),
            *(*SDKS, "opentelemetry-sdk", "starlette", "uvicorn", "websockets"),
            *("requests", "httpx", "httpx2", "anyio", "typer", "rich"),
        ),
        tuple(f"tests/test_pytest_plugin{name}.py" for name in ("", "_twice", "_transports")),
    ),
}
UV: Final = ROOT / ".venv-plugin-tools"


def install_uv() -> str:
    """Install uv from its lock, and return its program."""
    if not (UV / "bin" / "uv").exists():
        venv.create(UV, with_pip=True)
        locked = ("--require-hashes", "-r", str(ROOT / "requirements" / "uv.txt"))
        pip = (str(UV / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check")
        subprocess.run([*pip, "install", *locked], check=True)
    return str(UV / "bin" / "uv")


def lock(name: str) -> None:
    """Renew the lock of an environment."""
    options = ["--quiet", "--upgrade", "--universal", "--generate-hashes", "--python-version=3.11"]
    options += ["--no-header", "--no-annotate", "--no-emit-index-url", "--group=build"]
    options += [f"--extra={extra}" for extra in EXTRAS]
    path = ROOT / "requirements" / f"plugin-{name}.txt"
    subprocess.run(
        [install_uv(), "pip", "compile", *options, "-o", path, "pyproject.toml", "-"],
        input="\n".join(ENVIRONMENTS[name].packages),
        cwd=ROOT,
        text=True,
        check=True,
    )


def make_environment(name: str) -> str:
    """Install the locked packages and this checkout, and return the environment's Python."""
    folder = ROOT / f".venv-plugin-{name}"
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    script = str(ROOT / "requirements" / "install.sh")
    subprocess.run([script, python, f"requirements/plugin-{name}.txt"], cwd=ROOT, check=True)
    return python


def run_pytest(python: str, report: Path, *arguments: str) -> int:
    """Run tests, the last argument. Those of a folder with a `pytest.ini` are a project."""
    path = ROOT / arguments[-1]
    folder = path if path.is_dir() else path.parent
    # Old plugins do not know every setting of this project, and leave event loops open.
    settings = ["-W", "ignore::pytest.PytestConfigWarning", "-W", "ignore::ResourceWarning"]
    settings += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
    if (folder / "pytest.ini").exists():
        settings = [f"--rootdir={folder}", f"--confcutdir={folder}"]
        settings += [f"--config-file={folder / 'pytest.ini'}"]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-p"]
    return subprocess.run(
        [*command, "no:logging", *settings, f"--junitxml={report}", *arguments],
        cwd=ROOT,
        env=environ,
    ).returncode


def wrong_agents(report: Path) -> list[str]:
    """Return the tests of agents whose outcome is wrong: only the stable ones pass."""
    wrong: list[str] = []
    cases = list(ElementTree.parse(report).iter("testcase"))
    for case in cases:
        name = str(case.get("name"))
        texts = [f"{one.get('message')} {one.text}" for one in case]
        must_fail = "[stable]" not in name
        fails_so = any("volatile_token" in text and "`system[0]`" in text for text in texts)
        if fails_so != must_fail or (texts and not must_fail):
            wrong.append(name)
        print(f"  {name}: {'fails' if texts else 'passes'}{'' if name not in wrong else ', WRONG'}")
    return wrong or ([] if cases else ["no test"])


def check(name: str) -> list[str]:
    """Test an environment, and return what is wrong."""
    started = time.monotonic()
    environment, python = ENVIRONMENTS[name], make_environment(name)
    print(f"{name}: installed in {time.monotonic() - started:.0f} s", flush=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        for path in environment.tests:
            wrong += [path] if run_pytest(python, report, path) else []
        if environment.agents:
            agents = [f"tests/plugin/agents/test_{agent}.py" for agent in environment.agents]
            run_pytest(python, report, "--promptcache-twice", *agents)
            wrong += wrong_agents(report)
    print(f"{name}: {wrong or 'fine'} after {time.monotonic() - started:.0f} s", flush=True)
    return wrong


def main(arguments: list[str]) -> int:
    """Check environments, or renew their locks."""
    if arguments == ["--lock"]:
        for name in ENVIRONMENTS:
            lock(name)
        return 0
    names = " ".join(arguments).split() or list(ENVIRONMENTS)
    wrong = {name: check(name) for name in names}
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
