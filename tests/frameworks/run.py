"""Frameworks with their real packages against the emulator, each in a virtual environment of its
own.

    python tests/frameworks/run.py ["langchain-openai litellm"]

Without arguments: all. Exits with 1 if a case of any is wrong, or one cannot be installed.
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
NEEDED: Final = ("--editable", f"{ROOT}[sdk,emulator]", "hypothesis>=6.100", "pytest>=8")

FRAMEWORKS: Final[Mapping[str, tuple[str, ...]]] = {
    "langchain-openai": ("langchain-openai",),
    "langchain-anthropic": ("langchain-anthropic",),
    "langchain-google-genai": ("langchain-google-genai",),
    "langchain-aws": ("langchain-aws",),
    "llama-index": ("llama-index-llms-openai", "openinference-instrumentation-llama-index"),
    "pydantic-ai": ("pydantic-ai-slim[openai,anthropic,google]",),
    "openai-agents": ("openai-agents",),
    "litellm": ("litellm", "mcp", "tenacity", "openinference-instrumentation-litellm"),
}
"""What each needs; its cases are in the module of its name."""


def check(name: str) -> bool:
    """Installs a framework into its environment and checks it there; says whether all was right."""
    folder, started = ROOT / f".venv-frameworks-{name}", time.monotonic()
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    print(f"{name}: installing {' '.join(FRAMEWORKS[name])} ...", flush=True)
    if subprocess.run([python, *PIP, *NEEDED, *FRAMEWORKS[name]]).returncode:
        print(f"{name}: cannot be installed", flush=True)
        return False
    quiet = ("-W", "ignore::RuntimeWarning")  # coroutines that LiteLLM leaves behind
    fine = (
        subprocess.run([python, *quiet, "-m", "tests.frameworks.check", name], cwd=ROOT).returncode
        == 0
    )
    print(
        f"{name}: {'fine' if fine else 'WRONG'} after {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return fine


def main(names: list[str]) -> int:
    """Checks the frameworks of these names."""
    unknown = [name for name in names if name not in FRAMEWORKS]
    if unknown:
        print(f"no such framework: {' '.join(unknown)}; there are {' '.join(FRAMEWORKS)}")
        return 2
    results = {name: check(name) for name in names or FRAMEWORKS}
    wrong = [name for name, fine in results.items() if not fine]
    print(
        f"{len(results) - len(wrong)} of {len(results)} frameworks are fine"
        + (f"; not {wrong}" if wrong else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]).split()))
