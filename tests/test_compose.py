"""Check the mounted files, ports and paths of the compose file, which no test can start."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from promptcache_exporters.database.clickhouse_view import AttributeStorage, clickhouse_statements

COMPOSE_DIR = Path(__file__).parent.parent / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((COMPOSE_DIR / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DEFAULT_PORTS = {
    "jaeger": {4317, 16686},
    "prometheus": {9090},
    "alertmanager": {9093},
    "grafana": {3000},
}
"""The default ports of the images (their documentation, November 2026)."""


def mounted_files(service: str) -> dict[str, Path]:
    """Map each path in the container to the mounted path in this repository."""
    entries = [entry.split(":") for entry in SERVICES[service].get("volumes", [])]
    return {
        inside: (COMPOSE_DIR / outside).resolve()
        for outside, inside, *_ in entries
        if outside not in COMPOSE["volumes"]
    }


def load_config(service: str, path: str) -> Any:
    return yaml.safe_load(mounted_files(service)[path].read_text())


def collector_ports() -> set[int]:
    text = mounted_files("collector")["/etc/promptcache/promptcache.yaml"].read_text()
    return {int(port) for port in re.findall(r"_PORT:-(\d+)\}", text)}


def listening_ports(service: str) -> set[int]:
    return collector_ports() if service == "collector" else DEFAULT_PORTS[service]


@pytest.mark.parametrize("service", SERVICES)
def test_all_mounted_files_exist(service: str) -> None:
    assert all(path.is_file() for path in mounted_files(service).values())


@pytest.mark.parametrize("service", SERVICES)
def test_published_ports_are_listening_ports_on_loopback(service: str) -> None:
    for entry in SERVICES[service]["ports"]:
        address, _, inside = entry.split(":")
        assert (address, int(inside) in listening_ports(service)) == ("127.0.0.1", True)


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_and_dependencies_are_services(service: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[service]["image"])
    assert set(SERVICES[service].get("depends_on", [])) <= set(SERVICES)


def test_the_collector_gets_a_mounted_configuration_and_its_variables() -> None:
    (option,) = SERVICES["collector"]["command"]
    assert option.removeprefix("--config=") in mounted_files("collector")
    host, port = SERVICES["collector"]["environment"]["JAEGER_ENDPOINT"].split(":")
    assert int(port) in listening_ports(host)
    text = next(iter(mounted_files("collector").values())).read_text()
    assert all(f"env:{name}" in text for name in SERVICES["collector"]["environment"])


def test_the_collector_image_has_the_version_of_the_builder_file() -> None:
    version = yaml.safe_load((COMPOSE_DIR.parent / "collector" / "builder.yaml").read_text())[
        "dist"
    ]["version"]
    assert SERVICES["collector"]["image"].endswith(f":{version}")


def test_prometheus_scrapes_the_collector_and_loads_the_rules() -> None:
    option, _ = SERVICES["prometheus"]["command"]
    prometheus_config = load_config("prometheus", option.removeprefix("--config.file="))
    assert set(prometheus_config["rule_files"]) <= set(mounted_files("prometheus"))
    (job,) = prometheus_config["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert int(port) in listening_ports(host)
    assert job["honor_labels"], "the rules read the service from the label `job`"


def test_prometheus_sends_its_alerts_to_the_alertmanager() -> None:
    config = load_config("prometheus", "/etc/prometheus/prometheus.yaml")
    (group,) = config["alerting"]["alertmanagers"]
    (target,) = group["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert int(port) in listening_ports(host)
    (option,) = [
        part.removeprefix("--config.file=")
        for part in SERVICES[host]["command"]
        if part.startswith("--config.file=")
    ]
    alertmanager = load_config(host, option)
    names = [receiver["name"] for receiver in alertmanager["receivers"]]
    assert alertmanager["route"]["receiver"] in names


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"collector"}))
def test_a_service_is_healthy_when_it_answers_on_its_port(service: str) -> None:
    command, *_, url = SERVICES[service]["healthcheck"]["test"]
    assert command == "CMD"
    assert urlsplit(str(url)).port in listening_ports(service)


def test_a_service_waits_for_the_health_of_those_that_have_a_check() -> None:
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            has_check = "healthcheck" in SERVICES[other]
            assert wait["condition"] == ("service_healthy" if has_check else "service_started")


def test_data_that_must_survive_lies_on_a_named_volume() -> None:
    used = {
        entry.split(":")[0]
        for service in SERVICES.values()
        for entry in service.get("volumes", [])
        if not entry.startswith(".")
    }
    assert used == set(COMPOSE["volumes"])


def test_grafana_has_reachable_data_sources_and_the_dashboard() -> None:
    sources = load_config("grafana", "/etc/grafana/provisioning/datasources/promptcache.yaml")[
        "datasources"
    ]
    for source in sources:
        url = urlsplit(str(source["url"]))
        assert url.port in listening_ports(str(url.hostname))
    (provider,) = load_config("grafana", "/etc/grafana/provisioning/dashboards/promptcache.yaml")[
        "providers"
    ]
    board = f"{provider['options']['path']}/promptcache.json"
    assert json.loads(mounted_files("grafana")[board].read_text())["uid"] == "promptcache"


def test_the_header_names_published_ports() -> None:
    header = (COMPOSE_DIR / "compose.yaml").read_text().partition("services:")[0]
    published = {
        int(entry.split(":")[1]) for service in SERVICES.values() for entry in service["ports"]
    }
    assert {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", header)} <= published


CLICKHOUSE: dict[str, Any] = yaml.safe_load((COMPOSE_DIR / "clickhouse.yaml").read_text())


def clickhouse_files(service: str) -> dict[str, Path]:
    entries = [entry.split(":") for entry in CLICKHOUSE["services"][service].get("volumes", [])]
    return {inside: (COMPOSE_DIR / outside).resolve() for outside, inside, *_ in entries}


def test_the_collector_gets_the_configuration_for_clickhouse_beside_its_own() -> None:
    collector = CLICKHOUSE["services"]["collector"]
    (own,) = SERVICES["collector"]["command"]
    first, second = collector["command"]
    assert first == own
    files = clickhouse_files("collector")
    text = files[second.removeprefix("--config=")].read_text()
    assert all(f"env:{name}" in text for name in collector["environment"])
    host = urlsplit(str(collector["environment"]["CLICKHOUSE_ENDPOINT"])).hostname
    assert host in CLICKHOUSE["services"]


def test_clickhouse_gets_the_statements_that_the_command_prints() -> None:
    view = CLICKHOUSE["services"]["clickhouse-view"]
    (option,) = [
        part.removeprefix("--queries-file=")
        for part in view["entrypoint"]
        if part.startswith("--queries-file=")
    ]
    text = clickhouse_files("clickhouse-view")[option].read_text()
    assert text == clickhouse_statements(storage=AttributeStorage.TYPED), "run make alerts"
    assert view["image"] == CLICKHOUSE["services"]["clickhouse"]["image"]
    assert view["restart"] == "on-failure"


def test_clickhouse_is_published_on_loopback_only() -> None:
    (port,) = CLICKHOUSE["services"]["clickhouse"]["ports"]
    assert port == "127.0.0.1:8123:8123"
