"""An alert fires when a prompt breaks and ends when it is repaired, with the real programs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from promptcache_emulator.server import running_server
from tests.alerts_e2e.local_services import (
    BIN,
    Webhook,
    free_port,
    get_json,
    query_prometheus,
    running_program,
    running_webhook,
    wait_until,
)
from tests.alerts_e2e.programs import find_program

RATIO = 'service_name_model:promptcache_hit:ratio_10s{gen_ai_request_model="gpt-5.4"}'


def write_rules(path: Path) -> None:
    """Generate the alert rules as a user does, with short windows and a small minimum of tokens."""
    options = ["--labels", "target_info", "--window", "10s", "--for", "3s", "--min-tokens", "20000"]
    process = subprocess.run(
        [BIN / "promptcache", "alerts", "prometheus", *options],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    path.write_text(process.stdout)


@contextmanager
def running_agent(folder: Path, service: str, model_url: str) -> Generator[str]:
    """Run the support agent under `opentelemetry-instrument`; yield the address of its metrics."""
    port = free_port()
    env = {
        "OPENAI_BASE_URL": f"{model_url}/v1",
        "OPENAI_API_KEY": "no-key-needed",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
    exporters = [
        "--traces_exporter",
        "none",
        "--metrics_exporter",
        "prometheus",
        "--logs_exporter",
        "none",
    ]
    find_program = [
        BIN / "python",
        Path(__file__).with_name("busy_agent.py"),
        folder / f"{service}-is-broken",
    ]
    command: list[str | Path] = [
        BIN / "opentelemetry-instrument",
        "--service_name",
        service,
        *exporters,
        *find_program,
    ]
    with running_program(folder / f"{service}.log", *command, env=env):
        yield f"127.0.0.1:{port}"


@contextmanager
def running_alertmanager(folder: Path, hook: Webhook) -> Generator[str]:
    receiver = {"name": "pager", "webhook_configs": [{"url": hook.url, "send_resolved": True}]}
    route = {
        "receiver": "pager",
        "group_wait": "1s",
        "group_interval": "1s",
        "group_by": ["alertname", "service_name"],
    }
    # JSON is YAML.
    (folder / "alertmanager.yml").write_text(json.dumps({"route": route, "receivers": [receiver]}))
    address = f"127.0.0.1:{free_port()}"
    flags = {
        "config.file": folder / "alertmanager.yml",
        "storage.path": folder / "alertmanager",
        "web.listen-address": address,
        "cluster.listen-address": "",
    }
    with running_program(
        folder / "alertmanager.log", find_program("prometheus-alertmanager"), *as_flags(flags)
    ):
        yield address


@contextmanager
def running_prometheus(folder: Path, targets: list[str], alerts_to: str) -> Generator[str]:
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [{"job_name": "agents", "static_configs": [{"targets": targets}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts_to]}]}]},
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    flags = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "tsdb",
        "web.listen-address": address,
    }
    with running_program(folder / "prometheus.log", find_program("prometheus"), *as_flags(flags)):
        yield f"http://{address}"


def as_flags(values: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def test_an_alert_fires_for_a_broken_prompt_and_ends_after_the_repair(tmp_path: Path) -> None:
    started = time.monotonic()
    write_rules(tmp_path / "rules.yaml")
    broken = tmp_path / "shop-is-broken"
    with ExitStack() as stack:
        model, hook = stack.enter_context(running_server()), stack.enter_context(running_webhook())
        targets = [
            stack.enter_context(running_agent(tmp_path, name, model)) for name in ("shop", "desk")
        ]
        manager = stack.enter_context(running_alertmanager(tmp_path, hook))
        url = stack.enter_context(running_prometheus(tmp_path, targets, manager))

        def healthy() -> bool:
            return {
                name for name, ratio in query_prometheus(url, RATIO).items() if ratio > 0.8
            } == {
                "shop",
                "desk",
            }

        seconds_until_ready = wait_until("both services are scraped and healthy", healthy, 30)
        wait_until(
            "Alertmanager is up", lambda: bool(get_json(f"http://{manager}/api/v2/status")), 10
        )
        assert not hook.alerts

        broken.touch()
        seconds_until_alert = wait_until("the alert", lambda: hook.has_alert("firing", "shop"), 30)
        rates = query_prometheus(url, RATIO)
        broken.unlink()
        seconds_until_resolved = wait_until(
            "the end of the alert", lambda: hook.has_alert("resolved", "shop"), 30
        )
        wait_until("both are healthy again", healthy, 20)
    assert rates["shop"] < 0.5 < rates["desk"]
    assert {alert["labels"]["service_name"] for alert in hook.alerts} == {"shop"}
    (first,) = {alert["annotations"]["runbook_url"] for alert in hook.alerts}
    assert first == "docs/runbooks/hit-rate-low.md"
    total_seconds = time.monotonic() - started
    print(
        f"ready after {seconds_until_ready:.1f} s, alert after {seconds_until_alert:.1f} s,"
        f" resolved after {seconds_until_resolved:.1f} s; total {total_seconds:.1f} s"
    )
    assert total_seconds < 60
