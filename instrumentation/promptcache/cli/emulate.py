"""The command `promptcache emulate`: providers on loopback, for demos, tests and alert rehearsals."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final

import typer

_MISSING_EXTRA: Final = 'the emulator needs its extra: pip install "promptcache[emulator]"'


def emulate(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8089,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    beyond_loopback: Annotated[
        bool, typer.Option("--beyond-loopback", help="Allow an address others reach.")
    ] = False,
    latency: Annotated[float, typer.Option(min=0.0, help="Seconds to the first chunk.")] = 0.002,
    rules: Annotated[
        str,
        typer.Option(
            envvar="PROMPTCACHE_EMULATOR_RULES",
            help="Override profiles: minimum=2048,implicit=latest",
        ),
    ] = "",
) -> None:
    """Speak the providers' APIs on loopback, with their caches and a clock that tests can move.

    The first line printed is the URL. POST /_emulator/clock {"advance": 3600} moves the clock; reset, evict,
    faults {"fault": "429", "times": 2, "path": "/v1"} and rules {"rules": "ttl=1h"} stand beside it, GET
    /_emulator/requests tells the truth. One request is changed by the headers x-emulator-fault, x-emulator-rules,
    x-emulator-usage (deepseek, moonshot, openrouter, xai, groq, vllm) and x-emulator-words.
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
        emulator, sock = Emulator(overrides=rules), server.listen(host, port)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{sock.getsockname()[1]}", flush=True)  # noqa: T201
    server.serve(emulator, sock, latency)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
