"""A release of an SDK that moved what we stand at: said once, by its full name, and everything else goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from promptcache.patching.flow import Flow
from promptcache.patching.hook import Hook
from promptcache.patching.patcher import ModulePatcher
from promptcache.telemetry.handler import TelemetryHandler
from tests.canary.check import SDKS, looked_for

INSTALLED = [sdk for sdk in SDKS if sdk != "litellm"]
BASE = "openai._base_client"

SILENT = """
import importlib, sys
from promptcache import PromptCacheInstrumentor
PromptCacheInstrumentor().instrument()
importlib.import_module(sys.argv[1])
"""
GONE = """

from promptcache import PromptCacheInstrumentor
PromptCacheInstrumentor().instrument()
import openai
"""


class Client:
    """An SDK's, one release later."""

    def kept(self, options: object) -> str:
        return "kept"

    def changed(self, other: object) -> str:
        return "changed"


def flow(observer: TelemetryHandler, client: Any, call: Mapping[str, Any]) -> Flow:
    yield None


def test_what_moved_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    module: Any = ModuleType("sdk._client")
    module.Client = Client
    places = (("Client", "kept"), ("Client", "changed"), ("Client", "gone"), ("Other", "gone"))
    targets = tuple(Hook(owner, name, ("options",), around_call=flow) for owner, name in places)
    patches, observer = ModulePatcher(), object()
    patches.module = module
    for _ in range(2):
        patches.install(targets, observer)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # never called
    patches.restore()
    assert [record.getMessage() for record in caplog.records] == [
        f"promptcache does not know this release: sdk._client.{where} has moved; calls that pass there are not seen"
        for where in ("Client.changed", "Client.gone", "Other.gone")
    ]
    assert Client().kept(None) == "kept"


def test_nothing_has_moved_in_the_releases_that_are_installed() -> None:
    found = dict(looked_for(INSTALLED))
    assert all(found.values())
    assert {
        "openai._base_client.SyncAPIClient.request",
        "botocore.client.BaseClient._make_api_call",
    } <= found.keys()


@pytest.mark.parametrize(
    "name", ["request", "_build_request"], ids=["always there", "not in older releases"]
)
def test_the_canary_names_a_function_that_is_gone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = "SyncAPIClient" if name == "request" else "BaseClient"
    monkeypatch.delattr(f"{BASE}.{owner}.{name}")
    assert [where for where, there in looked_for(INSTALLED) if not there] == [
        f"{BASE}.{owner}.{name}"
    ]


def test_the_canary_names_a_function_that_takes_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{BASE}.AsyncAPIClient._process_response", Client.changed)
    moved = [where for where, there in looked_for(INSTALLED) if not there]
    assert moved == [f"{BASE}.AsyncAPIClient._process_response"]


def test_the_canary_names_a_module_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai._websocket_connection", None)
    assert [where for where, there in looked_for(INSTALLED) if not there] == [
        "openai._websocket_connection"
    ]


def imported(program: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


@pytest.mark.parametrize("sdk", ["openai", "google.genai"])
def test_a_known_release_is_no_news(sdk: str) -> None:
    assert "promptcache" not in imported(SILENT, sdk)


def test_a_module_that_is_gone_is_named(tmp_path: Any) -> None:
    (tmp_path / "openai.py").write_text("")
    assert imported(GONE, PYTHONPATH=str(tmp_path)).count("openai._base_client has moved") == 1
