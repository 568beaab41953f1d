"""LiteLLM: what it sends by itself, without a provider's SDK, passes the `post` of its two HTTP handlers.

`completion`, `acompletion`, `responses`, `anthropic_messages`, the router and names imported before us all end there,
with the provider's own body and its own answer, hence with all that the provider reports; what LiteLLM answers from its
own cache or from a mock does not get there, and is no call. OpenAI's and Azure's chat models go through the openai SDK,
where we stand anyway, and never through these handlers: no call is seen twice. Each request that LiteLLM sends is a
call: its retries and fallbacks may go to another model, region or account.

Parameter names read in litellm 1.60 to 1.106, November 2026. Not seen: its sockets (realtime), its `aiohttp_openai`
provider, its Rust bridge (`LITELLM_RUST`), and providers with a wire of their own (Cohere, Ollama ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from promptcache.observe import Record
from promptcache.observer import Asked, Observer
from promptcache.patch.around import Flow
from promptcache.patch.drive import Target
from promptcache.patch.named_caches import Where, managed, show_cached
from promptcache.patch.response import KEY, listen, parsed, watch
from promptcache.patch.sent import credential, opened
from promptcache.providers import anthropic, bedrock, gemini, gemini_caches, openai
from promptcache.providers.wire import JSON, Wire, find, mapping, text
from promptcache.safety import safely
from promptcache.spans import welcome

ROUTES: Final = (*openai.ROUTES, *anthropic.ROUTES, *gemini.ROUTES)
PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "custom_openai": "openai",
    "dashscope": "alibaba",
    "fireworks_ai": "fireworks",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "openai_like": "openai",
    "together_ai": "together",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""LiteLLM's names of providers where OpenTelemetry, or our table of hosts, has others."""
_BEDROCK: Final = re.compile(
    r"/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream)$"
)
_OPERATIONS: Final[Mapping[str, str]] = {
    "converse": "Converse",
    "converse-stream": "ConverseStream",
    "invoke": "InvokeModel",
    "invoke-with-response-stream": "InvokeModelWithResponseStream",
}
_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}
_VERTEX_MODEL: Final = re.compile(r"/models/([^/:]+):\w+$")


def _provider(observer: Observer, wire: Wire, url: SplitResult, call: Mapping[str, Any]) -> str:
    """Who serves the call: its host where that is known, else as LiteLLM has it, else whose wire it is."""
    details: JSON = mapping(getattr(call.get("logging_obj"), "model_call_details", None))
    named = text(details.get("custom_llm_provider")) or _whose(wire, url)
    if named == "azure_ai" and wire is anthropic.MESSAGES:
        return observer.provider(url.hostname, "anthropic", sure=True)
    return observer.provider(url.hostname, PROVIDERS.get(named, named))


def _whose(wire: Wire, url: SplitResult) -> str:
    if _BEDROCK.search(url.path):
        return "bedrock"
    vertex = "/projects/" in url.path
    return (
        "vertex_ai"
        if vertex
        else "gemini"
        if wire is gemini.CONTENT
        else wire.name.partition(".")[0]
    )


@final
class _Asked(NamedTuple):
    """What a request asks: of which model, in which wire, and whether for an earlier response again."""

    wire: Wire
    model: str | None
    fetch: bool
    body: JSON


def _asked(method: str, url: SplitResult, call: Mapping[str, Any]) -> _Asked | None:
    if served := _BEDROCK.search(url.path):
        body, model = _body(call), text(unquote(served[1]))
        wire = bedrock.wire(_OPERATIONS[served[2]], model, body)
        return wire and _Asked(wire, model, False, body)
    route = find(ROUTES, method, url.path)
    if route is None or route.results:
        return None  # whatever else passes here is not even parsed
    body, in_path = _body(call), _VERTEX_MODEL.search(url.path)
    named = text(body.get("model")) or (in_path and text(unquote(in_path[1])))
    return _Asked(route.wire, named, route.fetch, body) if named or route.fetch else None


def _body(call: Mapping[str, Any]) -> JSON:
    """The body as plain data, whichever way LiteLLM hands it to its handler."""
    given = next((call[name] for name in ("json", "data", "content") if call.get(name)), None)
    if isinstance(given, str):
        given = given.encode()
    return parsed(given) if isinstance(given, bytes) else mapping(given)


def _open(observer: Observer, method: str, call: Mapping[str, Any]) -> Record | None:
    """The record of a request if it is a call to a model."""
    url = urlsplit(str(call["url"]))
    found = _asked(method, url, call)
    if found is None:
        return None
    wire, model, fetch, body = found
    asked = Asked(
        wire,
        _provider(observer, wire, url, call),
        model,
        url.hostname,
        url.port or _PORTS.get(url.scheme),
        stream=bool(call.get("stream")),
        fetch=fetch,
    )
    headers = {
        str(name).lower(): str(value) for name, value in mapping(call.get("headers")).items()
    }
    betas = (
        {anthropic.BETAS: headers["anthropic-beta"].split(",")}
        if "anthropic-beta" in headers
        else {}
    )
    tenant = credential(headers) or next(iter(parse_qs(url.query).get("key", ())), "")
    record = opened(observer, asked, {**betas, **body} if betas else body, tenant)
    safely(show_cached, record, body)
    return record


def exchange(method: str, observer: Observer, handler: Any, call: Mapping[str, Any]) -> Flow:
    """One request and its answer: a call, or what is done to a named cache, or nothing of ours."""
    if not welcome():
        return _nothing()
    url = urlsplit(str(call["url"]))
    operation = gemini_caches.cache_operation(method, url.path)
    if operation is not None:
        where = Where(
            _provider(observer, gemini.CONTENT, url, call),
            url.hostname,
            url.port or _PORTS.get(url.scheme),
        )
        return managed(observer, operation, where, url.path, _body(call))
    record = _open(observer, method, call)
    return _nothing() if record is None else _called(record)


def _nothing() -> Flow:
    yield None


def _called(record: Record) -> Flow:
    ended = yield record.context if record.own else None
    response = ended.result
    if ended.error is not None:
        status = getattr(getattr(ended.error, "response", None), "status_code", None)
        record.error = str(status) if status else type(ended.error).__name__
    else:
        tier = response.headers.get(gemini.SERVICE_TIER)
        if tier:
            safely(record.saw, {gemini.SERVICE_TIER: tier})
        if not response.is_closed:
            response.extensions[KEY] = record
            safely(record.begun)
            watch(response, record, expected=False)
            return
        safely(listen, response, record)
    record.end()


_POST: Final[Callable[..., Flow]] = partial(exchange, "POST")
_GET: Final[Callable[..., Flow]] = partial(exchange, "GET")
TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "litellm.llms.custom_httpx.http_handler": tuple(
        target
        for owner in ("HTTPHandler", "AsyncHTTPHandler")
        for target in (
            Target(owner, "post", ("url", "data", "json", "headers", "stream"), _POST),
            Target(owner, "get", ("url", "headers"), _GET),
        )
    ),
}
