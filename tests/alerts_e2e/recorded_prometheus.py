"""A real Prometheus that holds recorded samples, and its answers at a time in the past."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.alerts_e2e.local_services import free_port, get_json, running_program, wait_until
from tests.alerts_e2e.programs import find_program


@contextmanager
def running_prometheus(samples: str, folder: Path) -> Generator[str]:
    """Run a Prometheus over samples in OpenMetrics text, and yield its address."""
    (folder / "samples.txt").write_text(samples)
    fill = [find_program("promtool"), "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run(
        [*fill, "samples.txt", "data"], cwd=folder, check=True, capture_output=True, timeout=60
    )
    (folder / "prometheus.yml").write_text("{}")
    address = f"127.0.0.1:{free_port()}"
    flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    flags += ["--storage.tsdb.retention.time=100y", f"--web.listen-address={address}"]
    with running_program(folder / "log", find_program("prometheus"), *flags, folder=folder):
        url = f"http://{address}"
        wait_until(
            "Prometheus answers", lambda: bool(get_json(f"{url}/api/v1/status/buildinfo")), 20
        )
        yield url


def query_at(url: str, expression: str, at: float) -> list[tuple[dict[str, str], float]]:
    """Return the labels and values of an expression at a time (epoch seconds)."""
    answer: Any = get_json(f"{url}/api/v1/query?" + urlencode({"query": expression, "time": at}))
    if answer["status"] != "success":
        raise AssertionError(answer)
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]
