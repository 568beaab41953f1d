"""The command `promptcache alerts`: generate alert rules and dashboards."""

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
from promptcache_exporters.alerts.registry import (
    BACKENDS,
    render_backend_files,
    write_files_and_delete_replaced,
)

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache alerts prometheus > promptcache.rules.yaml",
        "promptcache alerts prometheus --labels target_info --target 0.7 --out deploy",
        "promptcache alerts honeycomb --actionable --out deploy",
        (
            "promptcache alerts prometheus --by service,model,key:tenant"
            " --runbooks https://wiki.example.com/runbooks"
        ),
        "Backends:",
        *(f"{name}: {backend.description}" for name, backend in BACKENDS.items()),
        "A backend ignores an option that it cannot use, but the files name the whole command.",
        exit_code_help(ExitCode.OK, ExitCode.USAGE),
    )
)

BackendArgument = Annotated[
    str, typer.Argument(help=f"One of {', '.join(BACKENDS)}.", show_default=False)
]
TargetOption = Annotated[
    float, typer.Option(help="Alert if the hit rate is below this share: 0.5 is 50 %.")
]
WindowOption = Annotated[str, typer.Option(help="The time span of one hit rate: 30s, 5m, 1h, ...")]
ForOption = Annotated[
    str, typer.Option("--for", help="How long the rate must stay below: 30s, 5m, 1h, ...")
]
MinTokensOption = Annotated[
    int, typer.Option(help="Do not alert with fewer input tokens than this in a window.")
]
LabelsOption = Annotated[
    str,
    typer.Option(
        help=f"The label that names the service in Prometheus: {', '.join(SERVICE_LABELS)}."
    ),
]
ByOption = Annotated[
    str,
    typer.Option(
        help=f"Compute one rate for each: {', '.join(GROUP_ATTRIBUTES)} or key:NAME, "
        "separated by commas."
    ),
]
ActionableOption = Annotated[
    bool,
    typer.Option(
        "--actionable", help="Leave out prompts that are too short for a cache, and prewarming."
    ),
]
BudgetOption = Annotated[
    float, typer.Option(help="Alert if misses waste more USD per hour than this.")
]
DropOption = Annotated[
    float, typer.Option(help="Alert if the rate is this much below yesterday's: 0.2 is 20 %.")
]
RunbooksOption = Annotated[
    str, typer.Option(help="The URL of the folder with the pages that `alerts runbooks` writes.")
]
OutOption = Annotated[
    Path | None, typer.Option(help="Write the files into this folder. Default: print them.")
]

_DEFAULT_GROUPS: Final = ",".join(DEFAULT_DEFINITION.by)

app = typer.Typer(add_completion=False)


@app.command("alerts", epilog=EPILOG)
def alerts(
    backend: BackendArgument = "",
    target: TargetOption = DEFAULT_DEFINITION.target,
    window: WindowOption = DEFAULT_DEFINITION.window,
    hold: ForOption = DEFAULT_DEFINITION.for_duration,
    min_tokens: MinTokensOption = DEFAULT_DEFINITION.min_tokens,
    labels: LabelsOption = DEFAULT_DEFINITION.labels,
    by: ByOption = _DEFAULT_GROUPS,
    actionable: ActionableOption = DEFAULT_DEFINITION.actionable,
    budget: BudgetOption = DEFAULT_DEFINITION.budget,
    drop: DropOption = DEFAULT_DEFINITION.drop,
    runbooks: RunbooksOption = DEFAULT_DEFINITION.runbooks,
    out: OutOption = None,
) -> None:
    """Generate alert rules and dashboards for your backend, from one definition of the hit rate."""
    groups = tuple(name.strip() for name in by.split(","))
    fields = (target, window, hold, min_tokens, labels, groups, actionable, budget, drop, runbooks)
    texts = _generate_files(backend, *fields)
    try:
        if out:
            write_files_and_delete_replaced(out, texts)
    except OSError as error:
        raise typer.BadParameter(f"--out {out}: {error.strerror}: {error.filename}") from None
    for name, text in texts.items():
        if out:
            typer.echo(out / name)
        else:
            typer.echo((f"==> {name} <==\n" if len(texts) > 1 else "") + text, nl=False)


def _generate_files(backend: str, *fields: Any) -> Mapping[str, str]:
    try:
        return render_backend_files(backend, AlertDefinition(*fields))
    except KeyError:
        raise typer.BadParameter(
            f"{backend or 'no backend is given'}: allowed is one of {', '.join(BACKENDS)}"
        ) from None
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            f'{backend} needs an extra: pip install "promptcache[alerts]" ({error})'
        ) from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
