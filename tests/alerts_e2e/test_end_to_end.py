"""A prompt breaks, somebody is paged; it is repaired, the page is over. Every program in between is
the real one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from promptcache_emulator.server import running_server
from tests.alerts_e2e.programs import program
from tests.alerts_e2e.stage import BIN, Webhook, free_port, get, query, started, wait, webhook

RATIO = 'service_name_model:promptcache_hit:ratio_10s{gen_ai_request_model="gpt-5.4"}'


def rules(path: Path) -> None:
    """The alert as a user makes it, with short times and a guard that suits them."""
    options = ["--labels", "target_info", "--window", "10s", "--for", "3s", "--min-tokens", "20000"]
    made = subprocess.run(  # our own command
        [BIN / "promptcache", "alerts", "prometheus", *options],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    path.write_text(made.stdout)


@contextmanager
def agent(folder: Path, service: str, model_url: str) -> Generator[str]:
    """The support agent under `opentelemetry-instrument`; gives the address of its metrics."""
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
    program = [
        BIN / "python",
        Path(__file__).with_name("busy_agent.py"),
        folder / f"{service}-is-broken",
    ]
    command: list[str | Path] = [
        BIN / "opentelemetry-instrument",
        "--service_name",
        service,
        *exporters,
        *program,
    ]
    with started(folder / f"{service}.log", *command, env=env):
        yield f"127.0.0.1:{port}"


@contextmanager
def alertmanager(folder: Path, hook: Webhook) -> Generator[str]:
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
    with started(folder / "alertmanager.log", program("prometheus-alertmanager"), *as_flags(flags)):
        yield address


@contextmanager
def prometheus(folder: Path, targets: list[str], alerts_to: str) -> Generator[str]:
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
    with started(folder / "prometheus.log", program("prometheus"), *as_flags(flags)):
        yield f"http://{address}"


def as_flags(values: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def test_an_alert_fires_for_a_broken_prompt_and_ends_after_the_repair(tmp_path: Path) -> None:
    begun = time.monotonic()
    rules(tmp_path / "rules.yaml")
    broken = tmp_path / "shop-is-broken"
    with ExitStack() as stack:
        model, hook = stack.enter_context(running_server()), stack.enter_context(webhook())
        targets = [stack.enter_context(agent(tmp_path, name, model)) for name in ("shop", "desk")]
        manager = stack.enter_context(alertmanager(tmp_path, hook))
        url = stack.enter_context(prometheus(tmp_path, targets, manager))

        def healthy() -> bool:
            return {name for name, ratio in query(url, RATIO).items() if ratio > 0.8} == {
                "shop",
                "desk",
            }

        ready = wait("both services are seen, and healthy", healthy, 30)
        wait("Alertmanager is up", lambda: bool(get(f"http://{manager}/api/v2/status")), 10)
        assert not hook.alerts

        broken.touch()
        page = wait("the page", lambda: hook.told("firing", "shop"), 30)
        rates = query(url, RATIO)
        broken.unlink()
        over = wait("the end of the page", lambda: hook.told("resolved", "shop"), 30)
        wait("both are healthy again", healthy, 20)
    assert rates["shop"] < 0.5 < rates["desk"]
    assert {alert["labels"]["service_name"] for alert in hook.alerts} == {"shop"}
    (first,) = {alert["annotations"]["runbook_url"] for alert in hook.alerts}
    assert first == "docs/runbooks/hit-rate-low.md"
    took = time.monotonic() - begun
    print(
        f"seen after {ready:.1f} s, paged {page:.1f} s, over {over:.1f} s; in all {took:.1f} s"
    )  # the figures of the run
    assert took < 60
