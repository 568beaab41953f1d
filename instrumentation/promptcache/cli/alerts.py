"""The command `promptcache alerts`: options in, files out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache_exporters.alerts.definition import (
    DEFAULT_DEFINITION,
    GROUP_ATTRIBUTES,
    SERVICE_LABELS,
    AlertDefinition,
)
from promptcache_exporters.alerts.registry import BACKENDS, generate_files, write_files

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache alerts prometheus > promptcache.rules.yaml",
        "promptcache alerts prometheus --labels target_info --target 0.7 --out deploy",
        "promptcache alerts honeycomb --actionable --out deploy",
        "promptcache alerts prometheus --by service,model,key:tenant --runbooks https://wiki.example.com/runbooks",
        "Backends:",
        *(f"{name}: {what}" for name, what in BACKENDS.items()),
        "An option that a backend has no use for changes nothing but the line that says how its files were made.",
        exit_code_help(ExitCode.OK, ExitCode.USAGE),
    )
)


def alerts(
    backend: Annotated[
        str, typer.Argument(help=f"One of {', '.join(BACKENDS)}.", show_default=False)
    ] = "",
    target: Annotated[
        float, typer.Option(help="The hit rate below which somebody is told: 0.5 is 50 %.")
    ] = (DEFAULT_DEFINITION.target),
    window: Annotated[
        str, typer.Option(help="What the rate is taken over: 30s, 5m, 1h, ...")
    ] = DEFAULT_DEFINITION.window,
    hold: Annotated[
        str, typer.Option("--for", help="How long it must stay below, likewise.")
    ] = DEFAULT_DEFINITION.hold,
    min_tokens: Annotated[
        int, typer.Option(help="Input tokens in a window below which nothing is said.")
    ] = (DEFAULT_DEFINITION.min_tokens),
    labels: Annotated[
        str,
        typer.Option(
            help=f"The label that names the service in Prometheus: {', '.join(SERVICE_LABELS)}."
        ),
    ] = DEFAULT_DEFINITION.labels,
    by: Annotated[
        str,
        typer.Option(
            help=f"What rates are told apart by: {', '.join(GROUP_ATTRIBUTES)}, key:NAME; separated by commas."
        ),
    ] = ",".join(DEFAULT_DEFINITION.by),
    actionable: Annotated[
        bool,
        typer.Option(
            "--actionable", help="Leave out prompts too short for a cache, and prewarming."
        ),
    ] = DEFAULT_DEFINITION.actionable,
    budget: Annotated[
        float, typer.Option(help="Waste in USD per hour that is too much.")
    ] = DEFAULT_DEFINITION.budget,
    drop: Annotated[
        float, typer.Option(help="How far a rate may fall below yesterday's: 0.2 is 20 %.")
    ] = DEFAULT_DEFINITION.drop,
    runbooks: Annotated[
        str, typer.Option(help="The URL below which you put the pages of `alerts runbooks`.")
    ] = (DEFAULT_DEFINITION.runbooks),
    out: Annotated[
        Path | None, typer.Option(help="Write the files below this folder; else print them.")
    ] = None,
) -> None:
    """Make alert rules and dashboards for the backend you have, from one definition of the hit rate."""
    fields = (
        target,
        window,
        hold,
        min_tokens,
        labels,
        tuple(name.strip() for name in by.split(",")),
        actionable,
    )
    made = _generate_files(backend, *fields, budget, drop, runbooks)
    try:
        if out:
            write_files(out, made)
    except OSError as trouble:
        raise typer.BadParameter(f"--out {out}: {trouble.strerror}: {trouble.filename}") from None
    for name, text in made.items():
        if out:
            typer.echo(out / name)
        else:
            typer.echo((f"==> {name} <==\n" if len(made) > 1 else "") + text, nl=False)


def _generate_files(backend: str, *fields: Any) -> Mapping[str, str]:
    try:
        return generate_files(backend, AlertDefinition(*fields))
    except KeyError:
        raise typer.BadParameter(
            f"{backend or 'no backend is named'}: allowed is one of {', '.join(BACKENDS)}"
        ) from None
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(
            f'{backend} needs an extra: pip install "promptcache[alerts]" ({missing})'
        ) from None
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from None
