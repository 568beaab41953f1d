"""Wire JSON as the field reports it, with the right usage and the right amount of each answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import anthropic
import pytest

from promptcache.cli.price_options import build_request_and_response
from promptcache.model import Cost, Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
from promptcache.providers.google.wire import INTERACTIONS_ROUTES
from promptcache.providers.hosts import provider_for_host, provider_of_client
from promptcache.providers.registry import iter_routes_of_all_providers
from promptcache.providers.reported_usage import reported_usage
from promptcache.providers.response_facts import NO_FACTS, merge_facts
from promptcache.semconv import ATTEMPT_FIELDS, OUTPUT_TOKENS
from tests.support.call_shapes_anthropic import HTTP as ANTHROPIC_HTTP
from tests.support.mock_calls import make_mock_call
from tests.support.telemetry import Telemetry

CASES: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures/wires.json").read_text()
)
NOW: Final = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()


def read_answer(case: dict[str, Any]) -> tuple[Usage | None, Cost]:
    """Return usage and cost of the events of a case, as the invocation computes them."""
    routes = (*iter_routes_of_all_providers(), *INTERACTIONS_ROUTES)
    wire = next(row.wire_format for row in routes if row.wire_format.name == case["wire"])
    request = Request(
        case["wire"],
        case["provider"],
        "chat",
        case["model"],
        case.get("host"),
        443,
        len(case["events"]) > 1,
        case.get("body", {}),
        b"",
        NOW,
    )
    facts: ResponseFacts = NO_FACTS
    for event in case["events"]:
        if (found := wire.parse_event(event)) is not None:
            facts = merge_facts(facts, found)
    usage = reported_usage(wire, case.get("host"), facts, case["model"])
    return usage, PriceBook().compute_cost(request, facts, usage)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}: {case['name']}")
def test_usage_and_amount_of_an_answer_are_right(case: dict[str, Any]) -> None:
    usage, cost = read_answer(case)
    assert usage is not None
    found = usage._asdict() | {"inconsistencies": list(usage.inconsistencies)}
    assert {name: found[name] for name in case["usage"]} == case["usage"]
    if "amount" in case:
        expected = case["amount"]
        assert cost.amount == (None if expected is None else pytest.approx(expected, rel=1e-12))
    assert cost.unknown_reason == case.get("unknown", cost.unknown_reason)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("azure", "azure.ai.openai"),
        ("gemini", "gcp.gemini"),
        ("vertex", "gcp.vertex_ai"),
        ("bedrock", "aws.bedrock"),
        ("xai", "x_ai"),
        ("moonshot", "moonshot_ai"),
        ("kimi", "moonshot_ai"),
        ("mistral", "mistral_ai"),
        ("qwen", "alibaba"),
        ("zai", "z_ai"),
        ("claude", "anthropic"),
        ("vertex-ai", "gcp.vertex_ai"),
        ("amazon-bedrock", "aws.bedrock"),
        ("together_ai", "together"),
        ("XAI", "x_ai"),
    ],
)
def test_names_that_people_use_mean_the_provider(alias: str, name: str) -> None:
    request, _ = build_request_and_response(PriceBook(), "m", alias, NOW)
    assert request.provider == name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
        ("dashscope-us.aliyuncs.com", "alibaba"),
        ("ws-1.cn-beijing.maas.aliyuncs.com", "alibaba"),
        ("api.z.ai", "z_ai"),
        ("open.bigmodel.cn", "z_ai"),
        ("api.minimax.io", "minimax"),
        ("api.cerebras.ai", "cerebras"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.eu.rep.googleapis.com", "gcp.vertex_ai"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        ("vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "aws.bedrock"),
        ("aws-external-anthropic.us-east-1.api.aws", "anthropic"),
        ("house.openai.azure.us", "azure.ai.openai"),
        ("gateway-1.us-east-1.elb.amazonaws.com", "openai"),
    ],
)
def test_hosts_of_known_vendors_are_known(host: str, name: str) -> None:
    assert provider_for_host(host, "openai", {}) == name


def test_the_prices_of_azure_government_are_unknown() -> None:
    case = find_case("a deployment of Azure that is no router")
    _, cost = read_answer({**case, "host": "house.openai.azure.us"})
    assert (cost.amount, cost.unknown_reason) == (None, "tier")


def find_case(name: str) -> dict[str, Any]:
    return next(case for case in CASES if case["name"] == name)


def test_the_span_of_a_fallback_lists_each_attempt_with_its_model_and_parts(
    telemetry: Telemetry,
) -> None:
    case = find_case("Fable declines after 120 tokens, Opus answers")

    def answer(request: Any) -> Any:
        return ANTHROPIC_HTTP.Response(200, json={"role": "assistant", **case["events"][0]})

    transport = ANTHROPIC_HTTP.MockTransport(answer)
    with anthropic.Anthropic(
        api_key="k", http_client=ANTHROPIC_HTTP.Client(transport=transport)
    ) as client:
        client.beta.messages.create(
            model=case["model"], max_tokens=9, messages=[{"role": "user", "content": "Hi."}]
        )
    (span,) = telemetry.calls
    attributes: Any = span.attributes
    assert attributes["gen_ai.response.model"] == "claude-opus-4-8"
    attempts = [
        dict(zip(ATTEMPT_FIELDS, json.loads(entry), strict=True))
        for entry in attributes["promptcache.cost.attempts"]
    ]
    assert [(row["gen_ai.response.model"], row[OUTPUT_TOKENS]) for row in attempts] == [
        ("claude-fable-5", 120),
        ("claude-opus-4-8", 264),
    ]
    parts = ("amount", "input", "output")
    assert [[row[f"promptcache.cost.{part}"] for part in parts] for row in attempts] == [
        pytest.approx([0.01008, 0.00408, 0.006]),
        pytest.approx([0.00866, 0.00206, 0.0066]),
    ]
    for part in parts:
        name = f"promptcache.cost.{part}"
        assert sum(row[name] for row in attempts) == pytest.approx(attributes[name])


def test_an_answer_of_one_model_lists_no_attempts(telemetry: Telemetry) -> None:
    make_mock_call()("Hi.")
    assert "promptcache.cost.attempts" not in telemetry.attributes


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("openai.OpenAI", None),
        ("openai.AzureOpenAI", "azure.ai.openai"),
        ("openai.AsyncAzureOpenAI", "azure.ai.openai"),
        ("openai.BedrockOpenAI", "aws.bedrock"),
        ("openai.AsyncBedrockOpenAI", "aws.bedrock"),
        ("anthropic.Anthropic", None),
        ("anthropic.AnthropicBedrock", "aws.bedrock"),
        ("anthropic.AsyncAnthropicVertex", "gcp.vertex_ai"),
        ("anthropic.AnthropicFoundry", "anthropic"),
    ],
)
def test_the_class_of_a_client_names_its_provider(name: str, provider: str | None) -> None:
    module, class_name = name.split(".")
    kind: type[Any] = getattr(import_module(module), class_name)
    subclass = type("OurClient", (kind,), {})
    assert provider_of_client(object.__new__(kind)) == provider
    assert provider_of_client(object.__new__(subclass)) == provider
