"""List the providers: one row for each, and the only place where a provider is declared.

To add a provider, write a folder beside this file and a row in `PROVIDERS`. The folder holds
`wire.py` (request and response formats), `rules.py` (how the provider caches) and `hooks.py`
(functions of its SDK that are wrapped), each only if the provider needs one: most providers speak
OpenAI's wire format through OpenAI's SDK.

A row names modules by strings, relative to this package (`openai.wire`), and does not import them.
The instrumentor reads the rows at start-up, in processes that may never call a model, so this
module must load neither wire formats nor hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple, final

if TYPE_CHECKING:
    from promptcache.providers.wire_format import Route


@final
class SDK(NamedTuple):
    """A client library whose calls promptcache observes.

    `trigger_modules` are the modules whose import loads the instrumentation. `hooks` names the
    module of ours whose `HOOKS` map each of `hooked_modules` to the functions that are wrapped
    there. `required_module` is a hooked module that the first trigger module always imports: if it
    is missing, the library's release is newer than ours and a warning says so. It is empty where
    the library has no such module.
    """

    trigger_modules: tuple[str, ...]
    hooks: str
    hooked_modules: tuple[str, ...]
    required_module: str = ""


@final
class Provider(NamedTuple):
    """The facts about one provider that are not code.

    `name` is the value of OpenTelemetry's `gen_ai.provider.name`, and `aliases` are other spellings
    of it that users write. `litellm_names` are LiteLLM's names for the provider where they differ
    from `name`. `hosts` are domains, or patterns with `*` for a whole host; a domain includes its
    subdomains. `client_classes` are parts
    of the names of SDK classes whose instances call this provider, where it is not the SDK's own.
    `wire` names the module whose `ROUTES` map endpoints to wire formats. `rules` names the module
    whose `CACHE_RULES` say how the provider caches. `price_vendors` are the price lists that may
    hold its models, in the order of the search; if empty, the list has the provider's name.

    `gateway_prefixes` are the names of the provider before a slash in a model's name, as OpenRouter
    and Vercel write it, beside its name, its aliases and LiteLLM's names.

    `own_models` is a pattern for the beginning of the names that the provider itself gives: in its
    list they belong to it, and not to sellers of the same model.
    `models_with_writes_at_input_price` is a pattern for models whose written tokens cost what plain
    input costs, unless the price list has a price for them. `omits_zero_cached_count`: the
    provider's own hosts leave a cached count of 0 out of OpenAI's wire formats.
    `omits_reasoning_count`: they leave out the count of reasoning too, which the total has.
    `is_guessed_by_model`: the price commands search this provider's list when the user names no
    provider, in the order of the rows. `reports_stream_usage_unasked`: the provider sends the usage
    of a stream even if the request does not ask for usage. `reports_bill`: a bare
    `usage.cost` is the amount that it charged in USD.
    """

    name: str
    aliases: tuple[str, ...] = ()
    litellm_names: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    client_classes: tuple[str, ...] = ()
    wire: str = ""
    rules: str = ""
    price_vendors: tuple[str, ...] = ()
    gateway_prefixes: tuple[str, ...] = ()
    own_models: str = ""
    models_with_writes_at_input_price: str = ""
    omits_zero_cached_count: bool = False
    omits_reasoning_count: bool = False
    is_guessed_by_model: bool = False
    reports_stream_usage_unasked: bool = False
    reports_bill: bool = False
    sdk: SDK | None = None


_ALL_MODELS: Final = ".+"
_OPENAI_MODELS: Final = r"^(ft:)?(openai/)?(gpt-|o\d|chatgpt-|codex-)"
_OPENROUTER_MODELS_WITH_FREE_WRITES: Final = r"^(openai|google|x-ai|deepseek|mistralai|moonshotai)/"
_OPENAI_WIRE: Final = "openai.wire"
_OPENAI_RULES: Final = "openai.rules"
_GOOGLE_WIRE: Final = "google.wire"
_GOOGLE_RULES: Final = "google.rules"

PROVIDERS: Final[tuple[Provider, ...]] = (
    Provider(
        "anthropic",
        aliases=("claude",),
        hosts=("api.anthropic.com", "aws-external-anthropic.*.api.aws"),
        client_classes=("AnthropicFoundry", "AnthropicAWS", "AnthropicGoogleCloud"),
        wire="anthropic.wire",
        rules="anthropic.rules",
        price_vendors=("anthropic",),
        own_models=_ALL_MODELS,
        is_guessed_by_model=True,
        reports_stream_usage_unasked=True,
        sdk=SDK(
            ("anthropic",),
            "anthropic.hooks",
            ("anthropic._base_client",),
            required_module="anthropic._base_client",
        ),
    ),
    Provider(
        "openai",
        litellm_names=("custom_openai", "openai_like"),
        hosts=("api.openai.com",),
        wire=_OPENAI_WIRE,
        rules=_OPENAI_RULES,
        price_vendors=("openai",),
        own_models=_ALL_MODELS,
        is_guessed_by_model=True,
        models_with_writes_at_input_price=_OPENAI_MODELS,
        sdk=SDK(
            ("openai",),
            "openai.hooks",
            (
                "openai._base_client",
                "openai._websocket_connection",
                "openai.resources.responses.responses",
                "openai.resources.realtime.realtime",
            ),
            required_module="openai._base_client",
        ),
    ),
    Provider(
        "azure.ai.openai",
        aliases=(
            "azure",
            "azure_openai",
            "azure-openai",
            "azureopenai",
        ),
        litellm_names=("azure",),
        hosts=(
            "openai.azure.com",
            "openai.azure.us",
            "services.ai.azure.com",
            "cognitiveservices.azure.com",
        ),
        client_classes=("AzureOpenAI", "BaseAzureClient"),
        wire=_OPENAI_WIRE,
        rules=_OPENAI_RULES,
        price_vendors=("azure", "openai", "anthropic"),
        models_with_writes_at_input_price=_OPENAI_MODELS,
    ),
    Provider(
        "azure.ai.inference",
        aliases=("azure.ai.foundry",),
        litellm_names=("azure_ai",),
        hosts=("models.ai.azure.com",),
        wire=_OPENAI_WIRE,
        rules=_OPENAI_RULES,
        price_vendors=("azure", "openai", "anthropic"),
        models_with_writes_at_input_price=_OPENAI_MODELS,
    ),
    Provider(
        "gcp.gemini",
        aliases=(
            "gemini",
            "google",
            "google_genai",
            "google-genai",
            "google-gla",
            "google_ai_studio",
            "google-ai-studio",
        ),
        litellm_names=("gemini",),
        hosts=("generativelanguage.googleapis.com",),
        wire=_GOOGLE_WIRE,
        rules=_GOOGLE_RULES,
        price_vendors=("google",),
        gateway_prefixes=("google",),
        own_models=r"(models/)?gem(ini|ma)-",  # the list also has Claude on Vertex AI
        is_guessed_by_model=True,
        reports_stream_usage_unasked=True,
        # A miss has no `cached_tokens` at all (ai.google.dev/gemini-api/docs/openai).
        omits_zero_cached_count=True,
        # discuss.ai.google.dev/t/127400: 9 + 1, total 103. The native API has the same total.
        omits_reasoning_count=True,
        models_with_writes_at_input_price="gemini-",
        sdk=SDK(
            ("google.genai",),
            "google.hooks",
            (
                "google.genai._api_client",
                "google.genai._gaos.basesdk",
                "google.genai._interactions._base_client",
            ),
            required_module="google.genai._api_client",
        ),
    ),
    Provider(
        "gcp.vertex_ai",
        aliases=(
            "vertex",
            "vertexai",
            "vertex_ai",
            "vertex-ai",
            "google-vertex",
            "google_vertex",
            "google_vertexai",
        ),
        litellm_names=("vertex_ai", "vertex_ai_beta"),
        hosts=(
            "aiplatform.googleapis.com",
            "*-aiplatform.googleapis.com",
            "aiplatform.*.rep.googleapis.com",
        ),
        client_classes=("AnthropicVertex",),
        wire=_GOOGLE_WIRE,
        rules=_GOOGLE_RULES,
        price_vendors=("google", "anthropic"),
        reports_stream_usage_unasked=True,
        # A miss has no `cached_tokens` at all (ai.google.dev/gemini-api/docs/openai).
        omits_zero_cached_count=True,
        # discuss.ai.google.dev/t/127400: 9 + 1, total 103. The native API has the same total.
        omits_reasoning_count=True,
        models_with_writes_at_input_price="gemini-",
    ),
    Provider(
        "gcp.gen_ai",  # OpenTelemetry's name for any of Google's endpoints
        wire=_GOOGLE_WIRE,
        rules=_GOOGLE_RULES,
        price_vendors=("google", "anthropic"),
        reports_stream_usage_unasked=True,
        models_with_writes_at_input_price="gemini-",
    ),
    Provider(
        "aws.bedrock",
        aliases=(
            "bedrock",
            "aws",
            "aws-bedrock",
            "aws_bedrock",
            "amazon-bedrock",
            "amazon_bedrock",
        ),
        litellm_names=("bedrock", "bedrock_converse"),
        # Other hosts of AWS, such as a load balancer, may stand before any model.
        hosts=(
            "bedrock*.amazonaws.com",
            "bedrock*.amazonaws.com.cn",
            "bedrock*.api.aws",
            "*.bedrock*.vpce.amazonaws.com",
        ),
        client_classes=("AnthropicBedrock", "BedrockOpenAI"),
        wire="bedrock.wire",
        rules="bedrock.rules",
        price_vendors=("aws",),
        is_guessed_by_model=True,
        reports_stream_usage_unasked=True,
        sdk=SDK(
            ("botocore.client", "aiobotocore.client"),
            "bedrock.hooks",
            (
                "botocore.client",
                "botocore.eventstream",
                "botocore.response",
                "aiobotocore.client",
                "aiobotocore.eventstream",
                "aiobotocore.response",
            ),
        ),
    ),
    Provider(
        "deepseek",
        aliases=("deepseek-ai", "deep_seek"),
        hosts=("deepseek.com",),
        wire=_OPENAI_WIRE,
        rules="deepseek.rules",
        own_models=_ALL_MODELS,
        is_guessed_by_model=True,
        models_with_writes_at_input_price=_ALL_MODELS,
    ),
    Provider(
        "x_ai",
        aliases=(
            "xai",
            "x-ai",
            "grok",
        ),
        litellm_names=("xai",),
        hosts=("x.ai",),
        wire=_OPENAI_WIRE,
        rules="x_ai.rules",
        price_vendors=("x-ai",),
        gateway_prefixes=("x-ai",),
        own_models=_ALL_MODELS,
        is_guessed_by_model=True,
        models_with_writes_at_input_price=_ALL_MODELS,
    ),
    Provider(
        "mistral_ai",
        aliases=(
            "mistral",
            "mistralai",
            "mistral-ai",
        ),
        litellm_names=("mistral",),
        hosts=("mistral.ai",),
        wire=_OPENAI_WIRE,
        rules="mistral_ai.rules",
        price_vendors=("mistral",),
        gateway_prefixes=("mistralai",),
        own_models=_ALL_MODELS,
        is_guessed_by_model=True,
        models_with_writes_at_input_price=_ALL_MODELS,
    ),
    Provider(
        "moonshot_ai",
        aliases=(
            "moonshot",
            "moonshotai",
            "moonshot-ai",
            "kimi",
        ),
        litellm_names=("moonshot",),
        hosts=("moonshot.ai", "moonshot.cn"),
        wire=_OPENAI_WIRE,
        price_vendors=("moonshotai",),
        gateway_prefixes=("moonshotai",),
        own_models=_ALL_MODELS,
        is_guessed_by_model=True,
        models_with_writes_at_input_price=_ALL_MODELS,
    ),
    Provider(
        "groq",
        hosts=("groq.com",),
        wire=_OPENAI_WIRE,
        rules="groq.rules",
        is_guessed_by_model=True,
        models_with_writes_at_input_price=_ALL_MODELS,
        sdk=SDK(
            ("groq",),
            "groq.hooks",
            ("groq._base_client",),
            required_module="groq._base_client",
        ),
    ),
    Provider(
        "openrouter",
        hosts=("openrouter.ai",),
        wire=_OPENAI_WIRE,
        is_guessed_by_model=True,
        # Claude's and Qwen's writes have prices in the list.
        models_with_writes_at_input_price=_OPENROUTER_MODELS_WITH_FREE_WRITES,
        reports_bill=True,
    ),
    Provider(
        "together",
        aliases=("togetherai", "together-ai"),
        litellm_names=("together_ai",),
        hosts=("together.xyz", "together.ai"),
        wire=_OPENAI_WIRE,
    ),
    Provider(
        "fireworks",
        aliases=("fireworks-ai", "fireworksai"),
        litellm_names=("fireworks_ai",),
        hosts=("fireworks.ai",),
        wire=_OPENAI_WIRE,
    ),
    Provider(
        "cerebras",
        hosts=("cerebras.ai",),
        wire=_OPENAI_WIRE,
        models_with_writes_at_input_price=_ALL_MODELS,
    ),
    Provider(
        "minimax",
        hosts=("minimax.io", "minimaxi.com", "minimax.chat"),
        wire=_OPENAI_WIRE,
        rules="minimax.rules",
        own_models=r"(minimax/)?minimax-",
    ),
    Provider(
        "z_ai",
        aliases=("zai", "z-ai", "z.ai", "glm", "zhipu", "zhipuai", "bigmodel"),
        litellm_names=("zai",),
        hosts=("z.ai", "bigmodel.cn"),
        wire=_OPENAI_WIRE,
        rules="z_ai.rules",
        price_vendors=("zai", "zhipuai"),
        gateway_prefixes=("z-ai",),
        own_models=r"glm-",
    ),
    Provider("perplexity", hosts=("perplexity.ai",), wire=_OPENAI_WIRE),
    Provider(
        "alibaba",
        aliases=(
            "qwen",
            "dashscope",
            "aliyun",
            "alibaba_cloud",
            "alibaba-cloud",
        ),
        litellm_names=("dashscope",),
        hosts=(
            "dashscope.aliyuncs.com",
            "dashscope-intl.aliyuncs.com",
            "dashscope-us.aliyuncs.com",
            "maas.aliyuncs.com",
        ),
        wire=_OPENAI_WIRE,
        rules="alibaba.rules",
    ),
    Provider("ibm.watsonx.ai", litellm_names=("watsonx",)),
    Provider("vllm", wire=_OPENAI_WIRE, rules="vllm.rules"),
)
"""All providers. The order matters only for `is_guessed_by_model`."""

PROVIDERS_BY_NAME: Final[Mapping[str, Provider]] = {
    name: row for row in PROVIDERS for name in (row.name, *row.aliases)
}

GATEWAY: Final = "gateway"
"""Stands for a provider in the user's settings where a host serves the models of many."""

_PROVIDERS_BY_PREFIX: Final[Mapping[str, str]] = {
    prefix: row.name
    for row in reversed(PROVIDERS)
    for prefix in (row.name, *row.aliases, *row.litellm_names, *row.gateway_prefixes)
}


def provider_of_prefix(prefix: str) -> str | None:
    """Return the provider that a prefix of a model's name means, None for an unknown prefix."""
    return _PROVIDERS_BY_PREFIX.get(prefix.lower())


LITELLM: Final = SDK(
    ("litellm",),
    "litellm.hooks",
    ("litellm.llms.custom_httpx.http_handler",),
)
"""LiteLLM is a library without a provider of its own: it calls most providers of the rows."""

SDKS: Final[tuple[SDK, ...]] = (*(row.sdk for row in PROVIDERS if row.sdk is not None), LITELLM)

TRIGGER_MODULES: Final[tuple[str, ...]] = tuple(
    module for sdk in SDKS for module in sdk.trigger_modules
)
"""The modules whose import loads the rest of promptcache."""


def import_provider_module(name: str) -> ModuleType:
    """Import the module that a row names (`openai.wire`), relative to this package."""
    return import_module(f"promptcache.providers.{name}")


def iter_routes_of_all_providers() -> Iterator[Route]:
    """Yield the routes of every wire module, which this imports."""
    for name in dict.fromkeys(row.wire for row in PROVIDERS if row.wire):
        yield from import_provider_module(name).ROUTES
