"""The command `promptcache emulate`: a local server that stands in for the providers."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final

import typer

from promptcache.cli.exit_codes import ExitCode, exit_code_help

_MISSING_EXTRA: Final = 'the emulator needs its extra: pip install "promptcache[emulator]"'
EPILOG: Final = "\n\n".join(
    (
        "Control the emulator while it runs:",
        'POST /_emulator/clock {"advance": 3600}: move its clock forward by an hour',
        "POST /_emulator/evict: empty the caches",
        "POST /_emulator/reset: forget everything but the clock and the rules",
        (
            'POST /_emulator/faults {"fault": "429", "times": 2, "path": "/v1"}: '
            "fail the next requests"
        ),
        'POST /_emulator/rules {"rules": "ttl=1h"}: override the cache rules',
        "GET /_emulator/requests: counts and sums of all requests, and the last 100 of them",
        (
            "These headers change a single request: x-emulator-fault, x-emulator-rules, "
            "x-emulator-usage (deepseek, moonshot, openrouter, xai, groq, vllm), x-emulator-words."
        ),
        exit_code_help(ExitCode.OK, ExitCode.USAGE),
    )
)

PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="The port to listen on. 0 takes a free one.")
]
HostOption = Annotated[str, typer.Option(help="The address to listen on.")]
BeyondLoopbackOption = Annotated[
    bool, typer.Option("--beyond-loopback", help="Allow a --host that other machines can reach.")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        help="A name under which the server may be called, such as the name of its container. "
        "May be repeated. localhost and addresses are always allowed.",
    ),
]
LatencyOption = Annotated[
    float, typer.Option(min=0.0, help="The seconds until the first chunk of a response.")
]
RulesOption = Annotated[
    str,
    typer.Option(
        envvar="PROMPTCACHE_EMULATOR_RULES",
        help="Override the cache rules: minimum=2048,implicit=latest",
    ),
]

app = typer.Typer(add_completion=False)


@app.command("emulate", epilog=EPILOG)
def emulate(
    port: PortOption = 8089,
    host: HostOption = "127.0.0.1",
    beyond_loopback: BeyondLoopbackOption = False,
    latency: LatencyOption = 0.002,
    rules: RulesOption = "",
    allow_host: AllowHostOption = None,
) -> None:
    """Serve the APIs of the providers on this machine, with their caches and a movable clock.

    For demos, tests and alert rehearsals. The first line of the output is the URL of the server.
    """
    try:
        from promptcache_emulator import server
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"{_MISSING_EXTRA} (no module named {error.name})") from error
    from promptcache_emulator.engine import Emulator

    if not (_is_loopback(host) or beyond_loopback):
        raise typer.BadParameter(
            f"{host} is not loopback; pass --beyond-loopback to serve it to others"
        )
    try:
        emulator, sock = Emulator(overrides=rules), server.listen_on_port(host, port)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{sock.getsockname()[1]}", flush=True)  # noqa: T201 -- the command's output
    server.serve_emulator(emulator, sock, latency, allow_host or ())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
