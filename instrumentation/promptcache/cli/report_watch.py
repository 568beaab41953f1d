"""The report live in the terminal: `promptcache report --watch 2`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count, islice

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from promptcache.cli.console import make_stdout_console
from promptcache_exporters.report.format import format_local_time
from promptcache_exporters.report.model import Report
from promptcache_exporters.report.terminal import render_report


def watch_report(
    collect: Callable[[], Report],
    seconds: float,
    max_groups: int,
    console: Console | None = None,
    rounds: int | None = None,
) -> None:
    """Show what `collect` returns, again after `seconds`, until Ctrl-C or after some `rounds`.

    The report stays on the screen at the end. Raises what `collect` raises.
    """
    console = console or make_stdout_console()
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        for number in islice(count(), rounds):
            if number:
                time.sleep(seconds)
            found = collect()
            at = f"{format_local_time(time.time())}, again every {seconds:g} s; Ctrl-C ends"
            parts = render_report(found, console.width, max_groups)
            live.update(Group(*parts, Text(at, "dim")), refresh=True)
