"""The command `promptcache plan`: how to cache a prompt at a given traffic, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from promptcache import Plan, Prompt, PromptError
from promptcache.cli.exit_codes import CALLS_READER_CODES, ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.price_options import AtOption, ModelArgument, parse_time_option
from promptcache.cli.table_errors import exit_code_of_table_error
from promptcache.cli.table_options import SinceOption, parse_since_option
from promptcache.common.coerce import as_list
from promptcache.harness.frameworks.advice import write_framework_program

_CALLS_PER_HOUR: Final = 12.0

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache plan claude-opus-5-5 --system handbook.txt --per-hour 40",
        "promptcache plan gpt-6-sol --system handbook.txt --tools tools.json --per-hour 2 --json",
        "promptcache plan claude-sonnet-4-6 --system handbook.txt --turn-gap 700 --turn-gap 2400",
        "promptcache plan claude-sonnet-4-6 --system handbook.txt --name bot --db promptcache.db",
        "promptcache plan claude-sonnet-4-6 --system handbook.txt --for langchain",
        "The words of the plan:",
        (
            "static: tools and system prompt, the same in every call; shared: the same for one "
            "group of callers, such as a tenant; history: the turns of one conversation"
        ),
        (
            "0.135 of plain input: each call costs that share of what the layer would cost without "
            "caching, writes and misses included"
        ),
        (
            "breakpoint, 1h: mark the end of the layer, and ask the provider to keep it for an "
            "hour after its last use"
        ),
        "Prompt(...).plan(...) in Python gives the same plan, and chat(ttl=plan.ttls) follows it.",
        exit_code_help(*CALLS_READER_CODES),
    )
)

_SystemOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A file with the system prompt.")
]
_ToolsOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="A JSON file with a list of tools, as the API or the harness takes them.",
    ),
]
_SharedOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A file with what one group of callers shares."),
]
_PerHourOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="Calls per hour with this prompt. Default: 12, or as recorded."),
]
_DbOption = Annotated[
    Path | None,
    typer.Option(help="The file of the local table. Its calls with this --name give the gaps."),
]
_SharedPerHourOption = Annotated[
    float | None, typer.Option(min=0.0, help="Calls per hour of one group. Default: --per-hour.")
]
_TurnGapOption = Annotated[
    list[float] | None,
    typer.Option(
        min=0.0, help="Seconds between two turns of a conversation. Repeat it for several gaps."
    ),
]
_WireOption = Annotated[
    str | None,
    typer.Option(help="The API: anthropic, chat, converse ... Default: by the model's name."),
]
_ForOption = Annotated[
    str | None,
    typer.Option(
        "--for",
        help="Print the program that follows the plan in a framework: langchain, pydantic-ai or "
        "openai-agents.",
    ),
]
_NameOption = Annotated[str, typer.Option(help="The name of the prompt, for the cache key.")]

app = typer.Typer(add_completion=False)


@app.command("plan", epilog=EPILOG)
def show_plan(
    model: ModelArgument,
    system: _SystemOption = None,
    tools: _ToolsOption = None,
    shared: _SharedOption = None,
    per_hour: _PerHourOption = None,
    db: _DbOption = None,
    since: SinceOption = None,
    shared_per_hour: _SharedPerHourOption = None,
    turn_gap: _TurnGapOption = None,
    wire: _WireOption = None,
    name: _NameOption = "prompt",
    framework: _ForOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how to cache a prompt: breakpoints, TTLs, key, hit rate and cost, with the reasons."""
    if system is None and tools is None:
        raise typer.BadParameter("give --system, --tools or both")
    try:
        prompt = Prompt(name, system=_read(system), tools=_read_tools(tools))
        plan = prompt.plan(
            model=model,
            calls_per_hour=_CALLS_PER_HOUR if per_hour is None and db is None else per_hour,
            db=db,
            since=parse_since_option(since),
            wire=cast("Any", wire),
            shared=_read(shared),
            shared_calls_per_hour=shared_per_hour,
            turn_gaps=turn_gap or None,
            at=parse_time_option(at),
        )
        program = None if framework is None else write_framework_program(plan, framework)
    except PromptError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(_exit_code_of(error)) from None
    _print_plan(plan, program, as_json=as_json)


def _print_plan(plan: Plan, program: str | None, *, as_json: bool) -> None:
    if as_json:
        more = {} if program is None else {"program": program}
        typer.echo(json.dumps(_as_json(plan) | more))
        return
    if program is None:
        typer.echo(str(plan))
        return
    # The plan as comments, so that the output as a whole is a program.
    typer.echo("\n".join(f"# {line}" for line in str(plan).splitlines()))
    typer.echo(f"\n{program}", nl=False)


def _exit_code_of(error: PromptError) -> ExitCode:
    cause = error.__cause__
    if isinstance(cause, Exception):
        return exit_code_of_table_error(cause)
    return ExitCode.NO_CALLS if error.path == "db" else ExitCode.USAGE


def _as_json(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "ttls": dict(plan.ttls)}


def _read(path: Path | None) -> str | None:
    return path.read_text(encoding="utf-8") if path else None


def _read_tools(path: Path | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    try:
        tools: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise typer.BadParameter(f"{path}: no JSON: {error}", param_hint="--tools") from None
    if not isinstance(tools, list):
        raise typer.BadParameter(f"{path}: no list of tools", param_hint="--tools")
    return as_list(cast("object", tools))
