"""The argument with the command of a program, and the name of the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

CommandArgument = Annotated[
    list[str], typer.Argument(metavar="-- COMMAND [ARGUMENTS]", help="The program to run.")
]

_INTERPRETERS: Final = ("python", "pypy")
_OPTIONS_WITH_VALUE: Final = ("-X", "-W", "--check-hash-based-pycs")
"""Of the interpreter. Their values are no programs."""


def name_program(command: list[str]) -> str:
    """Return the name of a program: of the script or the module that Python runs, or its own."""
    program = Path(command[0]).name
    if not program.startswith(_INTERPRETERS):
        return Path(program).stem
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, program)
        if argument == "-c":  # what follows is code
            return program
        if argument in _OPTIONS_WITH_VALUE:
            next(arguments, None)
        elif not argument.startswith("-"):
            return Path(argument).stem
    return program
