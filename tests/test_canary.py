"""A release of an SDK without a hooked function causes one warning, and the other hooks work."""

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
from tests.canary.check import SDKS, find_hooks

INSTALLED = [sdk for sdk in SDKS if sdk != "litellm"]
BASE = "openai._base_client"

IMPORT_ONE_SDK = """
import importlib, sys
from promptcache import PromptCacheInstrumentor
PromptCacheInstrumentor().instrument()
importlib.import_module(sys.argv[1])
"""
IMPORT_OPENAI = """

from promptcache import PromptCacheInstrumentor
PromptCacheInstrumentor().instrument()
import openai
"""


class Client:
    """A client of an SDK in a later release."""

    def kept(self, options: object) -> str:
        return "kept"

    def changed(self, other: object) -> str:
        return "changed"


def empty_flow(handler: TelemetryHandler, client: Any, call: Mapping[str, Any]) -> Flow:
    yield None


def test_each_moved_function_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    module: Any = ModuleType("sdk._client")
    module.Client = Client
    hook_names = (("Client", "kept"), ("Client", "changed"), ("Client", "gone"), ("Other", "gone"))
    hooks = tuple(
        Hook(owner, name, ("options",), around_call=empty_flow) for owner, name in hook_names
    )
    patches, handler = ModulePatcher(), object()
    patches.module = module
    for _ in range(2):
        patches.install_or_reenable(hooks, handler)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # never called
    patches.remove_or_disable()
    assert [record.getMessage() for record in caplog.records] == [
        f"promptcache does not know this release: sdk._client.{where} has moved;"
        " calls that pass there are not seen"
        for where in ("Client.changed", "Client.gone", "Other.gone")
    ]
    assert Client().kept(None) == "kept"


def test_the_installed_releases_have_all_hooks() -> None:
    hooks = dict(find_hooks(INSTALLED))
    assert all(hooks.values())
    assert {
        "openai._base_client.SyncAPIClient.request",
        "botocore.client.BaseClient._make_api_call",
    } <= hooks.keys()


@pytest.mark.parametrize(
    "name", ["request", "_build_request"], ids=["always there", "not in older releases"]
)
def test_the_canary_reports_a_missing_function(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = "SyncAPIClient" if name == "request" else "BaseClient"
    monkeypatch.delattr(f"{BASE}.{owner}.{name}")
    assert [where for where, there in find_hooks(INSTALLED) if not there] == [
        f"{BASE}.{owner}.{name}"
    ]


def test_the_canary_reports_a_changed_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{BASE}.AsyncAPIClient._process_response", Client.changed)
    moved = [where for where, there in find_hooks(INSTALLED) if not there]
    assert moved == [f"{BASE}.AsyncAPIClient._process_response"]


def test_the_canary_reports_a_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai._websocket_connection", None)
    assert [where for where, there in find_hooks(INSTALLED) if not there] == [
        "openai._websocket_connection"
    ]


def run_program(program: str, *arguments: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stderr


@pytest.mark.parametrize("sdk", ["openai", "google.genai"])
def test_an_installed_release_causes_no_warning(sdk: str) -> None:
    assert "promptcache" not in run_program(IMPORT_ONE_SDK, sdk)


def test_a_missing_module_is_logged_once(tmp_path: Any) -> None:
    (tmp_path / "openai.py").write_text("")
    assert (
        run_program(IMPORT_OPENAI, PYTHONPATH=str(tmp_path)).count("openai._base_client has moved")
        == 1
    )
