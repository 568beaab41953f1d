"""Calls of aider from a script."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final

coders: Final[Any] = import_module("aider.coders")
terminal: Final[Any] = import_module("aider.io")
models: Final[Any] = import_module("aider.models")
os.environ["OPENAI_API_BASE"] = f"{os.environ['EMULATOR']}/v1"


def make_coder(*, stream: bool) -> Any:
    return coders.Coder.create(
        main_model=models.Model("openai/gpt-4o-mini"),
        io=terminal.InputOutput(yes=True, pretty=False),
        edit_format="ask",
        use_git=False,
        stream=stream,
    )


def ask() -> Any:
    return make_coder(stream=False).run("Where is my tent?")  # call


def stream() -> Any:
    return make_coder(stream=True).run("Where is my tent?")  # call


ask()
stream()
