"""The part of typer that the commands without an extra use, made of argparse.

`promptcache cost`, `prices show` and `doctor` also work where typer is not installed: a broken
installation is when a doctor is needed. `entry_point.main` puts this module in typer's place there.
The output of `--help` is plainer, everything else is the same.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Annotated, Any, Final, NoReturn, get_args, get_origin, get_type_hints

_USAGE_ERROR: Final = 2


class Exit(Exception):  # noqa: N818  # typer's name
    """Ends the command with an exit code."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(code)
        self.exit_code = int(code)


class BadParameter(Exception):  # noqa: N818  # typer's name
    """The value of an option is wrong."""

    def __init__(self, message: str, *, param_hint: str | None = None) -> None:
        super().__init__(f"Invalid value for {param_hint}: {message}" if param_hint else message)


class Parameter:
    """What typer is told of a parameter, without what only decorates the help page."""

    def __init__(self, *names: str, **details: Any) -> None:
        self.names = names
        self.help = str(details.get("help") or "")
        self.metavar: str | None = details.get("metavar")
        self.minimum: int | None = details.get("min")


class Option(Parameter):
    """An option, such as `--model`."""


class Argument(Parameter):
    """An argument without a name."""


class Typer:
    """A group of commands, or a single one."""

    def __init__(self, **details: Any) -> None:
        self.help = str(details.get("help") or "")
        self.commands: dict[str, tuple[Callable[..., None], str]] = {}

    def command(
        self, name: str, *, epilog: str = "", **_: Any
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Return a decorator that adds a function as the command `name`."""

        def add(function: Callable[..., None]) -> Callable[..., None]:
            self.commands[name] = (function, epilog)
            return function

        return add


def echo(message: str = "", *, err: bool = False) -> None:
    """Print a line on standard output or error."""
    print(message, file=sys.stderr if err else sys.stdout)  # the command's output


def run_command(app: Typer, program: str, arguments: Sequence[str]) -> NoReturn:
    """Run the command that `arguments` name, and end the process with its exit code."""
    words = list(arguments)
    if len(app.commands) > 1:
        name = words.pop(0) if words else "--help"
        if name not in app.commands:
            echo(f"{app.help}\nCommands: {', '.join(app.commands)}", err=name != "--help")
            sys.exit(0 if name == "--help" else _USAGE_ERROR)
        program = f"{program} {name}"
    else:
        (name,) = app.commands
    function, epilog = app.commands[name]
    values = vars(_make_parser(function, program, epilog).parse_args(words))
    try:
        function(**values)
    except Exit as end:
        sys.exit(end.exit_code)
    except BadParameter as error:
        echo(f"{program}: {error}", err=True)
        sys.exit(_USAGE_ERROR)
    sys.exit(0)


def _make_parser(
    function: Callable[..., None], program: str, epilog: str
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program,
        description=inspect.getdoc(function),
        epilog=epilog.replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        _add_parameter(parser, name, hints[name], parameter.default)
    return parser


def _add_parameter(parser: argparse.ArgumentParser, name: str, hint: Any, default: Any) -> None:
    kind, info = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, Option())
    if isinstance(kind, UnionType):  # with None
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    is_required = default is inspect.Parameter.empty
    help_text = info.help.replace("%", "%%")
    if isinstance(info, Argument):
        if get_origin(kind) is list:
            nargs: Any = argparse.REMAINDER
        else:
            nargs = None if is_required else "?"
        parser.add_argument(
            name, nargs=nargs, type=_converter(kind, None), help=help_text, metavar=info.metavar
        )
        return
    flag = info.names[0] if info.names else f"--{name.replace('_', '-')}"
    details: dict[str, Any] = {"dest": name, "help": help_text, "required": is_required}
    if not is_required:
        details["default"] = default
    if kind is bool:
        parser.add_argument(flag, action="store_true", **details)
        return
    if get_origin(kind) is list:
        details["action"] = "append"
    parser.add_argument(flag, type=_converter(kind, info.minimum), **details)


def _converter(kind: Any, minimum: int | None) -> Callable[[str], Any]:
    """Return the function that makes a value of the type `kind` of a text."""
    base = get_args(kind)[0] if get_origin(kind) is list else kind

    def convert(text: str) -> Any:
        value = base(text)
        if minimum is not None and value < minimum:
            raise argparse.ArgumentTypeError(f"{text} is below {minimum}")
        return value

    convert.__name__ = getattr(base, "__name__", "value")
    return convert
