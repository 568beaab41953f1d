"""Test the real packages of frameworks against the emulator, each in its own virtual environment.

`check` makes their calls in one process. `launch` runs a program of theirs under a launcher.

    python tests/frameworks/run.py ["langchain-openai litellm"]

Without arguments it tests all frameworks. It exits with 1 if a case is wrong or an installation
fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--upgrade")
COMMON_PACKAGES: Final = (
    "--editable",
    f"{ROOT}[sdk,emulator,run]",
    "hypothesis>=6.100",
    "pytest>=8",
)

FRAMEWORKS: Final[Mapping[str, tuple[str, ...]]] = {
    "langchain-openai": ("langchain-openai",),
    "langchain-anthropic": ("langchain-anthropic",),
    "langchain-google-genai": ("langchain-google-genai",),
    "langchain-aws": ("langchain-aws",),
    "llama-index": (
        "llama-index-llms-openai",
        "llama-index-core",
        "openinference-instrumentation-llama-index",
    ),
    "pydantic-ai": ("pydantic-ai-slim[openai,anthropic,google]",),
    "openai-agents": ("openai-agents",),
    "litellm": ("litellm", "mcp", "tenacity", "openinference-instrumentation-litellm"),
    "instructor": ("instructor",),
    "langgraph": ("langgraph", "langchain-openai", "fastapi", "uvicorn"),
    "strands": ("strands-agents[openai]",),
    "crewai": ("crewai",),
    "dspy": ("dspy",),
    "autogen": ("autogen-agentchat", "autogen-ext[openai]"),
    "google-adk": ("google-adk",),
    "litellm-proxy": ("litellm[proxy]",),
    "aider": ("aider-chat",),
}
"""Framework -> packages to install. The module with its name has the cases of `check`, and a table
in `launch` has its programs."""


def check_framework(name: str) -> bool:
    """Install a framework and check it there, and return whether all cases are right."""
    folder, started = ROOT / f".venv-frameworks-{name}", time.monotonic()
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    print(f"{name}: installing {' '.join(FRAMEWORKS[name])} ...", flush=True)
    if subprocess.run([python, *PIP, *COMMON_PACKAGES, *FRAMEWORKS[name]]).returncode:
        print(f"{name}: cannot be installed", flush=True)
        return False
    quiet = ("-W", "ignore::RuntimeWarning")  # coroutines that LiteLLM leaves behind
    codes = [
        subprocess.run(
            [python, *quiet, "-m", f"tests.frameworks.{part}", name], cwd=ROOT
        ).returncode
        for part in ("check", "launch")
    ]
    is_right = not any(codes)
    print(
        f"{name}: {'fine' if is_right else 'WRONG'} after {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return is_right


def main(names: list[str]) -> int:
    """Check the frameworks of these names, or all."""
    unknown = [name for name in names if name not in FRAMEWORKS]
    if unknown:
        print(f"no such framework: {' '.join(unknown)}; there are {' '.join(FRAMEWORKS)}")
        return 2
    results = {name: check_framework(name) for name in names or FRAMEWORKS}
    wrong = [name for name, is_right in results.items() if not is_right]
    print(
        f"{len(results) - len(wrong)} of {len(results)} frameworks are fine"
        + (f"; not {wrong}" if wrong else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]).split()))
