"""The Kubernetes example refers to what it has. `make deployment` checks its schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from promptcache_exporters.alerts.registry import GENERATED_DIR

EXAMPLE: Final = Path(__file__).parents[1] / "deploy" / "kubernetes" / "application.yaml"
GENERATED: Final = GENERATED_DIR / "kubernetes"


def load(path: Path) -> dict[str, Any]:
    """Return the resources of a file by their kinds."""
    return {resource["kind"]: resource for resource in yaml.safe_load_all(path.read_text())}


def test_the_resources_contain_the_files_of_the_other_backends() -> None:
    (rule,) = load(GENERATED / "prometheusrule.yaml").values()
    rules = yaml.safe_load((GENERATED_DIR / "prometheus" / "promptcache.rules.yaml").read_text())
    assert rule["spec"] == rules
    collector = load(GENERATED / "collector.yaml")["OpenTelemetryCollector"]
    configuration = (GENERATED_DIR / "collector" / "promptcache.yaml").read_text()
    assert collector["spec"]["config"] == yaml.safe_load(configuration)
    assert all(f"env:{one['name']}" in configuration for one in collector["spec"]["env"])


def test_the_ports_are_those_of_the_configuration_and_prometheus_scrapes_one() -> None:
    resources = load(GENERATED / "collector.yaml")
    configuration = (GENERATED_DIR / "collector" / "promptcache.yaml").read_text()
    ports = {
        one["name"]: one["port"] for one in resources["OpenTelemetryCollector"]["spec"]["ports"]
    }
    assert all(f"_PORT:-{port}}}" in configuration for port in ports.values())
    (endpoint,) = resources["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["port"] in ports
    assert endpoint["honorLabels"], "the rules read the service from the label `job`"


def test_the_application_is_injected_and_sends_to_the_collector() -> None:
    resources = load(EXAMPLE)
    template = resources["Deployment"]["spec"]["template"]
    (annotation,) = template["metadata"]["annotations"].items()
    instrumentation = resources["Instrumentation"]
    assert annotation == (
        "instrumentation.opentelemetry.io/inject-python",
        instrumentation["metadata"]["name"],
    )
    collector = load(GENERATED / "collector.yaml")["OpenTelemetryCollector"]
    url = urlsplit(str(instrumentation["spec"]["exporter"]["endpoint"]))
    assert url.hostname == f"{collector['metadata']['name']}-collector"
    assert url.port in {one["port"] for one in collector["spec"]["ports"]}
