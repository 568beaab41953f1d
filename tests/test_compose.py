"""The compose file, which no test can start: every file that it mounts is there, every port and path agrees."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

FOLDER = Path(__file__).parent.parent / "deploy" / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
DEFAULT_PORTS = {"jaeger": {4317, 16686}, "prometheus": {9090}, "grafana": {3000}}
"""What the images listen on by themselves (their documentation, November 2026)."""


def mounts(service: str) -> dict[str, Path]:
    """The files of a container, path inside: path in this repository."""
    pairs = [entry.split(":") for entry in SERVICES[service].get("volumes", [])]
    return {inside: (FOLDER / outside).resolve() for outside, inside, _ in pairs}


def config(service: str, path: str) -> Any:
    return yaml.safe_load(mounts(service)[path].read_text())


def collector_ports() -> set[int]:
    text = mounts("collector")["/etc/promptcache/promptcache.yaml"].read_text()
    return {int(port) for port in re.findall(r"_PORT:-(\d+)\}", text)}


def listens(service: str) -> set[int]:
    return collector_ports() if service == "collector" else DEFAULT_PORTS[service]


@pytest.mark.parametrize("service", SERVICES)
def test_what_it_mounts_is_there(service: str) -> None:
    assert all(path.is_file() for path in mounts(service).values())


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_those_that_the_programs_listen_on_and_stay_on_loopback(service: str) -> None:
    for entry in SERVICES[service]["ports"]:
        address, _, inside = entry.split(":")
        assert (address, int(inside) in listens(service)) == ("127.0.0.1", True)


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_and_needs_are_services(service: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[service]["image"])
    assert set(SERVICES[service].get("depends_on", [])) <= set(SERVICES)


def test_the_collector_runs_the_configuration_it_is_given() -> None:
    (option,) = SERVICES["collector"]["command"]
    assert option.removeprefix("--config=") in mounts("collector")
    host, port = SERVICES["collector"]["environment"]["JAEGER_ENDPOINT"].split(":")
    assert int(port) in listens(host)
    text = next(iter(mounts("collector").values())).read_text()
    assert all(f"env:{name}" in text for name in SERVICES["collector"]["environment"])


def test_its_version_is_the_one_that_the_tests_build() -> None:
    built = yaml.safe_load((FOLDER.parent / "collector" / "builder.yaml").read_text())["dist"][
        "version"
    ]
    assert SERVICES["collector"]["image"].endswith(f":{built}")


def test_prometheus_scrapes_the_collector_and_loads_the_rules() -> None:
    (option,) = SERVICES["prometheus"]["command"]
    found = config("prometheus", option.removeprefix("--config.file="))
    assert set(found["rule_files"]) <= set(mounts("prometheus"))
    (job,) = found["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert int(port) in listens(host)
    assert job["honor_labels"], "the rules take the service from `job`"


def test_grafana_finds_its_sources_and_the_dashboard() -> None:
    sources = config("grafana", "/etc/grafana/provisioning/datasources/promptcache.yaml")[
        "datasources"
    ]
    for source in sources:
        url = urlsplit(str(source["url"]))
        assert url.port in listens(str(url.hostname))
    (provider,) = config("grafana", "/etc/grafana/provisioning/dashboards/promptcache.yaml")[
        "providers"
    ]
    board = f"{provider['options']['path']}/promptcache.json"
    assert json.loads(mounts("grafana")[board].read_text())["uid"] == "promptcache"


def test_the_head_names_ports_that_are_published() -> None:
    head = (FOLDER / "compose.yaml").read_text().partition("services:")[0]
    published = {
        int(entry.split(":")[1]) for service in SERVICES.values() for entry in service["ports"]
    }
    assert {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", head)} <= published
