"""The reference of the commands, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import typer

from promptcache.cli.commands import app
from promptcache.cli.entry_point import EXTRAS

_HEAD: Final = """\
# Commands

Each command has a `--help` with the same text. Options, exit codes and the keys of `--json` are a
stable interface.
"""


def render_commands_page() -> str:
    """Return the page, in Markdown."""
    group: Any = typer.main.get_command(app)
    with group.make_context("promptcache", [], resilient_parsing=True) as context:
        parts = [
            _describe(context, name, group.get_command(context, name), level=2)
            for name in group.list_commands(context)
        ]
    return "\n".join((_HEAD, *parts))


def _describe(parent: Any, name: str, command: Any, level: int) -> str:
    """Return a command with its options, and the commands of a group."""
    with command.context_class(command, info_name=name, parent=parent) as context:
        lines = [f"{'#' * level} promptcache {context.command_path.partition(' ')[2]}", ""]
        lines += [_escape(command.help or ""), ""]
        if level == 2 and name in EXTRAS:
            lines += [f'Needs `pip install "promptcache[{EXTRAS[name]}]"`.', ""]
        if hasattr(command, "commands"):
            for inner, one in command.commands.items():
                lines.append(_describe(context, inner, one, level + 1))
            return "\n".join(lines)
        usage = " ".join(command.collect_usage_pieces(context))
        lines += ["```", f"{context.command_path} {usage}", "```", ""]
        lines += [*_option_rows(context, command), "", *_epilog_lines(command.epilog or ""), ""]
        return "\n".join(lines)


def _option_rows(context: Any, command: Any) -> Iterator[str]:
    yield "| option | meaning |"
    yield "|---|---|"
    for option in command.get_params(context):
        names, text = option.get_help_record(context) or ("", "")
        yield f"| `{_escape(names)}` | {_escape(' '.join(text.split()))} |"


def _epilog_lines(epilog: str) -> Iterator[str]:
    """Yield the end of a help page: headings, blocks of commands, and lists."""
    for is_command, lines in groupby(
        filter(None, epilog.split("\n\n")), lambda line: line.startswith("promptcache ")
    ):
        if is_command:
            yield from ("```sh", *lines, "```")
        else:
            yield from (f"\n{line}\n" if line.endswith(":") else f"- {line}" for line in lines)


def _escape(text: str) -> str:
    return text.replace("|", r"\|")
