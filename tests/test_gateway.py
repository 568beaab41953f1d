"""Behind a gateway the name of the model decides whose model it is and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from promptcache import Settings
from promptcache.model import Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
from promptcache.prices.gateway import provider_of_model
from tests.support.telemetry import Telemetry


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-sonnet-4-6", "anthropic"),
        ("claude-sonnet-4-5-20250929", "anthropic"),
        ("gpt-5.4", "openai"),
        ("gemini-2.5-pro", "gcp.gemini"),
        ("deepseek-chat", "deepseek"),
        ("grok-4", "x_ai"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock"),
        ("llama-3.3-70b-versatile", "groq"),
        # LiteLLM (docs.litellm.ai, "Providers")
        ("anthropic/claude-sonnet-4-6", "anthropic"),
        ("gemini/gemini-2.5-pro", "gcp.gemini"),
        ("vertex_ai/gemini-2.5-pro", "gcp.vertex_ai"),
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock"),
        ("azure/gpt-4o", "azure.ai.openai"),
        ("xai/grok-4", "x_ai"),
        ("openrouter/anthropic/claude-sonnet-4.6", "openrouter"),
        # OpenRouter (openrouter.ai/models) and Vercel (vercel.com/ai-gateway/models)
        ("anthropic/claude-sonnet-4.6", "anthropic"),
        ("x-ai/grok-4", "x_ai"),
        ("google/gemini-2.5-pro", "gcp.gemini"),
        ("Mistralai/mistral-large-2512", "mistral_ai"),
        # names that do not tell
        ("our-assistant", None),
        ("openai/our-assistant", None),
        ("nobody/gpt-5.4", None),
        ("", None),
        ("/", None),
        ("anthropic/", None),
    ],
)
def test_the_name_of_a_model_tells_its_provider(model: str, provider: str | None) -> None:
    assert provider_of_model(model) == provider


USAGE = Usage(1000, 1000, 0, 0, output_tokens=10)


@pytest.mark.parametrize(
    ("model", "answered", "direct_provider", "direct_model"),
    [
        ("gpt-5.4", "gpt-5.4", "openai", "gpt-5.4"),
        ("openai/gpt-5.4", "openai/gpt-5.4", "openai", "gpt-5.4"),
        ("google/gemini-2.5-pro", None, "gcp.gemini", "gemini-2.5-pro"),
    ],
)
def test_a_model_costs_behind_a_gateway_what_it_costs_directly(
    model: str, answered: str | None, direct_provider: str, direct_model: str
) -> None:
    def cost(provider: str, model: str, answered: str | None) -> float | None:
        request = Request("chat", provider, "chat", model, "gw", 443, False, {}, b"", 1.795e9)
        return PriceBook().compute_cost(request, ResponseFacts(model=answered), USAGE).amount

    direct = cost(direct_provider, direct_model, direct_model)
    assert direct is not None
    assert cost(provider_of_model(model) or "", model, answered) == direct


def test_a_gateway_in_the_settings_gives_each_call_its_provider(
    emulator_url: str, instrumented: Callable[..., Telemetry]
) -> None:
    telemetry = instrumented(Settings.load({"OTEL_PROMPTCACHE_PROVIDERS": "127.0.0.1=gateway"}))
    models = ["gpt-5.4", "claude-sonnet-4-6", "anthropic/claude-sonnet-4-6", "our-assistant"]
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as client:
        create: Any = client.chat.completions.create
        for model in models:
            create(model=model, messages=[{"role": "user", "content": "hi"}])
    attributes = [span.attributes or {} for span in telemetry.spans]
    assert [found["gen_ai.provider.name"] for found in attributes] == [
        "openai",
        "anthropic",
        "anthropic",
        "gateway",
    ]
    assert "promptcache.cost.amount" in attributes[0]
    assert attributes[3]["promptcache.cost.unknown"] == "model"
