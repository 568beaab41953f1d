"""Instrumenting and uninstrumenting: repeated, beside others, and without any exception."""

from __future__ import annotations

import copy
import functools
import logging
import pickle
import re
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from openai import _base_client as base  # pyright: ignore[reportPrivateUsage]  # the hooked function

from promptcache import PromptCacheInstrumentor, Settings, settings
from promptcache.common.safely import MAX_COUNTED_FAILURES, failure_counts, safely
from promptcache.patching.flow import Flow, FlowRunner, StepResult
from promptcache.patching.hook import Hook
from promptcache.patching.patcher import ModulePatcher
from promptcache.providers.openai import hooks as openai_hooks
from promptcache.version import __version__
from tests.support.call_shapes import CHAT, RESPONSES
from tests.support.fresh_process import run_after_instrumenting
from tests.support.package_metadata import declared_entry_points
from tests.support.telemetry import Telemetry


@pytest.fixture(autouse=True)
def uninstrument_at_end() -> Iterator[None]:
    yield
    if PromptCacheInstrumentor().is_instrumented_by_opentelemetry:
        PromptCacheInstrumentor().uninstrument()


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0
    ) as client:
        yield client


def test_clients_can_be_subclassed_and_copied_and_responses_pickled(
    client: openai.OpenAI, telemetry: Telemetry
) -> None:
    class Subclass(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            parent: Any = super()
            return parent.request(*args, **kwargs)

    with Subclass(base_url=client.base_url, api_key="k") as client_of_subclass:
        copied_client: Any = copy.copy(client_of_subclass)
        response = copied_client.responses.create(**RESPONSES)
    assert pickle.loads(pickle.dumps(response)) == response
    unparsed: Any = client.responses.with_raw_response
    raw = unparsed.create(**RESPONSES)
    assert pickle.loads(pickle.dumps(raw.http_response)).content == raw.content
    assert "promptcache" not in raw.http_response.extensions
    assert len(telemetry.spans) == 2


def test_clients_and_methods_from_before_are_instrumented(
    client: openai.OpenAI, instrumented: Callable[..., Telemetry]
) -> None:
    bound, raw = client.responses.create, client.chat.completions.with_raw_response
    telemetry = instrumented()
    bound(**RESPONSES)
    raw.create(**CHAT)
    assert len(telemetry.spans) == 2


def test_the_module_level_client_is_instrumented(
    emulator_url: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "base_url", f"{emulator_url}/v1/")
    monkeypatch.setattr(openai, "api_key", "k")
    openai.responses.create(**RESPONSES)
    assert telemetry.span.name == "chat gpt-5.4"
    openai._load_client().close()  # pyright: ignore[reportPrivateUsage]  # as the SDK's own tests do
    openai._reset_client()  # pyright: ignore[reportPrivateUsage]


def test_an_azure_call_reports_the_azure_provider_and_the_deployment(
    emulator_url: str, telemetry: Telemetry
) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=emulator_url, api_key="k", api_version="2026-01-01"
    ) as client:
        create: Any = client.chat.completions.create
        create(**{**CHAT, "model": "my-deployment"})
    assert telemetry.attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert telemetry.attributes["gen_ai.request.model"] == "my-deployment"


def test_uninstrumenting_keeps_the_wrapper_of_another_instrumentation(
    client: openai.OpenAI,
) -> None:
    original = base.SyncAPIClient.__dict__["request"]
    telemetry = Telemetry()
    telemetry.instrument()
    ours = base.SyncAPIClient.__dict__["request"]
    wrapper_calls: list[str] = []

    @functools.wraps(ours)
    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        wrapper_calls.append("theirs")
        return ours(self, *args, **kwargs)

    base.SyncAPIClient.request = theirs  # type: ignore[method-assign]
    try:
        PromptCacheInstrumentor().uninstrument()
        client.responses.create(**RESPONSES)
        assert base.SyncAPIClient.__dict__["request"] is theirs
        assert (wrapper_calls, telemetry.spans) == (["theirs"], ())
        telemetry.instrument()
        assert base.SyncAPIClient.__dict__["request"] is theirs, "our wrapper is still below theirs"
        client.responses.create(**RESPONSES)
        assert len(telemetry.spans) == 1
    finally:
        PromptCacheInstrumentor().uninstrument()
        base.SyncAPIClient.request = original  # type: ignore[method-assign]


def test_the_hook_on_process_response_suffices(client: openai.OpenAI, telemetry: Telemetry) -> None:
    """Another instrumentation that replaced `request` earlier bypasses our wrapper of it."""
    ours = base.SyncAPIClient.__dict__["request"]
    base.SyncAPIClient.request = ours.__wrapped__  # type: ignore[method-assign]
    try:
        client.responses.create(**RESPONSES)
        list(client.responses.create(**RESPONSES, stream=True))
    finally:
        base.SyncAPIClient.request = ours  # type: ignore[method-assign]
    assert [span.attributes["promptcache.outcome"] for span in telemetry.spans if span.attributes]
    assert len(telemetry.spans) == 2


def test_an_incompatible_sdk_is_logged_once_and_not_patched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Client:
        def request(self, other: int) -> int:
            return other

    def flow(*_: Any) -> Flow:
        yield None

    patcher, handler = ModulePatcher(), SimpleNamespace()
    patcher.module = SimpleNamespace(Client=Client)
    hooks = (
        Hook("Client", "request", ("options",), around_call=flow),
        Hook("Gone", "request", (), around_call=flow),
    )
    patcher.install_or_reenable(hooks, handler)  # type: ignore[arg-type]  # no handler is needed
    assert Client().request(3) == 3
    assert [record.getMessage().split(": ")[1].split(" ")[0] for record in caplog.records] == [
        "Client.request",
        "Gone.request",
    ]


def test_the_instrumentor_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    PromptCacheInstrumentor().instrument(tracer_provider=object(), settings=object())
    assert len(caplog.records) == 1


def test_a_failing_step_is_logged_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise LookupError("secret words")

    for _ in range(120):
        assert safely(fail) is None
    place = f"{__name__}.test_a_failing_step_is_logged_without_its_message.<locals>.fail"
    begin = f"promptcache failed with LookupError in {place}:"
    assert all(message.startswith(begin) for message in caplog.messages)
    assert [re.findall(r"failure \d+ ", message)[0] for message in caplog.messages] == [
        "failure 1 ",
        "failure 10 ",
        "failure 100 ",
    ]
    assert "secret" not in caplog.text


def test_failures_in_many_places_are_counted_in_bounded_memory() -> None:
    for number in range(2 * MAX_COUNTED_FAILURES):
        kind = type(f"Error{number}", (Exception,), {})
        safely(raise_error, kind)
    assert len(failure_counts) <= MAX_COUNTED_FAILURES


def raise_error(kind: type[Exception]) -> None:
    raise kind


def test_the_start_names_the_sdks_that_are_observed_and_those_that_are_not() -> None:
    output = run_after_instrumenting(
        "import logging; logging.basicConfig(level=logging.INFO, stream=sys.stdout)\nimport openai"
    )
    assert output == (
        f"INFO:promptcache:promptcache {__version__} observes openai; not observed, since not"
        " imported yet: anthropic, google.genai, botocore, aiobotocore, groq, litellm"
    )


def test_the_start_names_an_imported_sdk_without_a_known_function(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_hooks, "HOOKS", dict.fromkeys(openai_hooks.HOOKS, ()))
    with caplog.at_level(logging.INFO, "promptcache"):
        PromptCacheInstrumentor().instrument()
    assert "imported, but of an unknown release: openai" in caplog.text


@pytest.mark.parametrize("exception_type", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through_safely(exception_type: type[BaseException]) -> None:
    def interrupt() -> None:
        raise exception_type

    with pytest.raises(exception_type):
        safely(interrupt)


@pytest.mark.parametrize("failing_step", ["before", "after", "nowhere"])
def test_a_failing_flow_leaves_the_result_of_the_call(failing_step: str) -> None:
    step_results: list[StepResult] = []

    def flow() -> Flow:
        if failing_step == "before":
            raise LookupError
        step_results.append((yield None))
        if failing_step == "after":
            raise LookupError

    with FlowRunner(flow) as runner:
        runner.result = 7
    assert runner.result == 7
    assert [step_result.result for step_result in step_results] == (
        [] if failing_step == "before" else [7]
    )


def test_the_entry_points_are_the_documented_ones() -> None:
    assert declared_entry_points() == {
        "opentelemetry_instrumentor": {
            "promptcache": "promptcache.instrumentor:PromptCacheInstrumentor"
        },
        "opentelemetry_traces_exporter": {
            "promptcache_sqlite": "promptcache_exporters.sqlite:SQLiteSpanExporter"
        },
        "console_scripts": {"promptcache": "promptcache.cli:main"},
        "pytest11": {"promptcache": "promptcache_testing.plugin"},
    }
    for point in entry_points(group="opentelemetry_instrumentor", name="promptcache"):
        assert point.load() is PromptCacheInstrumentor


def test_settings_are_read_from_the_environment() -> None:
    environment = {
        settings.OTEL_PROMPTCACHE_HASH_KEY: "k",
        settings.OTEL_PROMPTCACHE_HASHES: "all",
        settings.OTEL_PROMPTCACHE_CALLSITE: "off",
        settings.OTEL_PROMPTCACHE_BAGGAGE_KEYS: "a, b,",
        settings.OTEL_PROMPTCACHE_TARGET: "0.8",
        settings.OTEL_PROMPTCACHE_PROVIDERS: "Gate.corp=groq",
        settings.OTEL_PROMPTCACHE_MEMORY_NODES: "10",
    }
    assert Settings.load(environment) == Settings(
        hash_key="k",
        hashes="all",
        callsite=False,
        baggage_keys=("a", "b"),
        target=0.8,
        providers={"gate.corp": "groq"},
        memory_nodes=10,
    )
    assert Settings.load({}) == Settings()


def test_metric_keys_may_list_their_values() -> None:
    def metric_keys(text: str) -> object:
        return Settings.load({settings.OTEL_PROMPTCACHE_METRIC_KEYS: text}).metric_keys

    assert metric_keys("team, tenant") == ("team", "tenant")
    assert metric_keys("team, tenant = acme | globex") == {
        "team": (),
        "tenant": ("acme", "globex"),
    }


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("OTEL_PROMPTCACHE_HASHES", "some", "none, static, all"),
        ("OTEL_PROMPTCACHE_CALLSITE", "maybe", "true, false"),
        ("OTEL_PROMPTCACHE_TARGET", "1.5", "at most 1"),
        ("OTEL_PROMPTCACHE_PROVIDERS", "gate.corp", "host=provider"),
        ("OTEL_PROMPTCACHE_MEMORY_NODES", "0", "at least 1"),
        ("OTEL_PROMPTCACHE_METRIC_KEYS", "tenant=", "key=value|value"),
        ("OTEL_PROMPTCACHE_METRIC_KEYS", "=acme", "key=value|value"),
    ],
)
def test_an_invalid_setting_is_logged_and_ignored(
    variable: str, value: str, allowed: str, caplog: pytest.LogCaptureFixture
) -> None:
    is_private = variable == "OTEL_PROMPTCACHE_HASHES"  # tests/test_doctor.py says why
    assert Settings.load({variable: value}) == Settings(hashes="none" if is_private else "static")
    assert variable in caplog.text
    assert allowed in caplog.text


def test_each_constant_of_a_variable_holds_its_own_name() -> None:
    names = [name for name in dir(settings) if name.startswith("OTEL_")]
    assert all(getattr(settings, name) == name for name in names)
    assert logging.getLogger("promptcache").handlers == []
