"""A real Phoenix prices the same calls from its own table, and each difference has an explanation.

Run by hand (Phoenix is 850 MB, so no test installs it):

    python -m venv .oracle && .oracle/bin/pip install arize-phoenix
    python tests/oracle/phoenix_costs.py .oracle/bin/phoenix

It sends one span per case over OTLP on loopback, with the standard `gen_ai.*` attributes only,
reads the costs by GraphQL and compares them with ours. It exits with 1 if a difference has no
explanation, or an explanation is obsolete. Phoenix compiles its table from the map of LiteLLM, ours
comes from genai-prices. Both read the pages of the same vendors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from promptcache.model import Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
from promptcache.semconv import (
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
    GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS,
    GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    GEN_AI_USAGE_INPUT_TOKENS,
    GEN_AI_USAGE_OUTPUT_TOKENS,
)

PORT, GRPC_PORT = 16_006, 14_317
BASE = f"http://127.0.0.1:{PORT}"


@dataclass(frozen=True, slots=True)
class Case:
    provider: str
    model: str
    shape: str
    usage: Usage

    @property
    def key(self) -> str:
        return f"{self.model} {self.shape}"


USAGE_BY_SHAPE = {
    "plain": Usage(1000, 1000, 0, 0, {}, 100),
    "read": Usage(10_000, 2000, 8000, 0, {}, 100),
    "write": Usage(10_000, 2000, 7000, 1000, {"unknown": 1000}, 100),
    "long": Usage(300_000, 100_000, 200_000, 0, {}, 1000),
    "long write": Usage(300_000, 100_000, 100_000, 100_000, {"unknown": 100_000}, 1000),
}
MODELS_WITH_CACHE_WRITES = ("claude", "gpt-6", "gpt-5.6")
MODELS = {
    "anthropic": (
        "claude-opus-4-5",
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-opus-5-5",
        "claude-sonnet-4-6",
        "claude-sonnet-5",
        "claude-sonnet-5-5",
        "claude-haiku-4-5",
        "claude-haiku-5-5",
    ),
    "openai": (
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4.1",
        "gpt-4.1-mini",
        "gpt-5",
        "gpt-5-mini",
        "gpt-5.4",
        "gpt-5.5",
        "gpt-5.6-sol",
        "gpt-6-sol",
        "gpt-6-luna",
        "gpt-6.1-sol",
        "o3",
        "o4-mini",
        "gpt-oss-120b",
    ),
    "gcp.gemini": (
        "gemini-2.5-pro",
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-3.1-pro-preview",
        "gemini-3.5-flash",
        "gemini-3.8-flash",
        "gemini-4-argon",
    ),
    "deepseek": ("deepseek-v4-pro", "deepseek-flash"),
    "x_ai": ("grok-4.3", "grok-4.7"),
    "groq": ("openai/gpt-oss-120b", "llama-3.3-70b-versatile"),
    "moonshot_ai": ("kimi-k3",),
    "mistral_ai": ("mistral-large-latest",),
}

EXPLANATIONS: dict[str, str] = {
    "gpt-oss-120b": "OpenAI does not sell it. Phoenix uses its pattern for Cerebras, 0.35/0.75.",
    "llama-3.3-70b-versatile": "Phoenix matches llama-3.3-70b of Cerebras (0.85/1.20), Groq has "
    "0.59/0.79. Groq has no price for cached input: ours is unknown, Phoenix uses the input price.",
    "deepseek-v4-pro": "Phoenix has no DeepSeek models.",
    "deepseek-flash": "Phoenix has no DeepSeek models.",
    "grok-4.3": "Phoenix has no xAI models.",
    "grok-4.7": "Phoenix has no xAI models.",
    "mistral-large-latest": "An alias that moves. genai-prices has Large 2 (2/6), Phoenix has "
    "Large 3 (0.5/1.5), and Large 4 exists. Our cost is unknown.",
}
"""`model shape`, or `model` for all shapes -> why Phoenix has another cost."""


def make_cases() -> Iterator[Case]:
    for provider, models in MODELS.items():
        for model in models:
            for shape, usage in USAGE_BY_SHAPE.items():
                if "write" not in shape or model.startswith(MODELS_WITH_CACHE_WRITES):
                    yield Case(provider, model, shape, usage)


def compute_our_cost(book: PriceBook, case: Case) -> float | None:
    request = Request(
        "", case.provider, "chat", case.model, None, None, False, {}, b"", time.time()
    )
    return book.compute_cost(request, ResponseFacts(model=case.model), case.usage).amount


@contextmanager
def running_phoenix(binary: str) -> Generator[None]:
    """Run Phoenix in a temporary folder."""
    with TemporaryDirectory() as folder:
        environment = os.environ | {
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(PORT),
            "PHOENIX_GRPC_PORT": str(GRPC_PORT),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        with open(os.path.join(folder, "log"), "w") as log:
            server = subprocess.Popen([binary, "serve"], env=environment, stdout=log, stderr=log)
        try:
            wait_until_ready()
            yield
        finally:
            server.terminate()
            server.wait(30)


def wait_until_ready(seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{BASE}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise TimeoutError("Phoenix is not ready")


def send_spans(all_cases: list[Case]) -> None:
    provider = TracerProvider()
    provider.add_span_processor(
        SimpleSpanProcessor(OTLPSpanExporter(f"{BASE}/v1/traces", timeout=60))
    )
    tracer = provider.get_tracer("oracle")
    for case in all_cases:
        usage = case.usage
        attributes: dict[str, str | int] = {
            GEN_AI_OPERATION_NAME: "chat",
            GEN_AI_PROVIDER_NAME: case.provider,
            GEN_AI_REQUEST_MODEL: case.model,
            GEN_AI_RESPONSE_MODEL: case.model,
            GEN_AI_USAGE_INPUT_TOKENS: usage.input_tokens,
            GEN_AI_USAGE_OUTPUT_TOKENS: usage.output_tokens or 0,
            GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: usage.cache_read_tokens or 0,
            GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: usage.cache_write_tokens or 0,
        }
        with tracer.start_as_current_span(case.key, attributes=attributes):
            pass
    provider.shutdown()


QUERY = """{ projects { edges { node { spans(first: 1000) { edges { node {
    name costSummary { total { cost } } } } } } } } }"""


def read_costs() -> dict[str, float | None]:
    """Return the cost that Phoenix has for each span name."""
    body = json.dumps({"query": QUERY}).encode()
    request = urllib.request.Request(f"{BASE}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        result: Any = json.load(response)
    costs: dict[str, float | None] = {}
    for project in result["data"]["projects"]["edges"]:
        for span in project["node"]["spans"]["edges"]:
            summary = span["node"]["costSummary"]
            costs[span["node"]["name"]] = summary and summary["total"]["cost"]
    return costs


def wait_for_costs(count: int) -> dict[str, float | None]:
    """Wait until Phoenix has stored and priced all spans, and return the costs."""
    for _ in range(60):
        if len(read_costs()) == count:
            break
        time.sleep(1)
    time.sleep(10)
    return read_costs()


def report_differences(
    book: PriceBook, all_cases: list[Case], theirs: dict[str, float | None]
) -> int:
    equal_count = 0
    unused_explanations: set[str] = set(EXPLANATIONS)
    unexplained: list[str] = []
    for case in all_cases:
        our_cost, their_cost = compute_our_cost(book, case), theirs.get(case.key)
        if our_cost == their_cost or (
            our_cost and their_cost and abs(our_cost - their_cost) <= 1e-4 * our_cost
        ):
            equal_count += 1
            continue
        reason = EXPLANATIONS.get(case.key) or EXPLANATIONS.get(case.model)
        unused_explanations -= {case.key, case.model}
        line = f"{case.key:<40} ours {our_cost}  Phoenix {their_cost}"
        print(f"{line}\n    {reason or 'NOT EXPLAINED'}")
        if reason is None:
            unexplained.append(case.key)
    differ = len(all_cases) - equal_count
    print(
        f"{len(all_cases)} calls: {equal_count} equal within 0.01 %, {differ} differ,"
        f" {len(unexplained)} without explanation"
    )
    for key in unused_explanations:
        print(f"obsolete explanation: {key}")
    return int(bool(unexplained) or bool(unused_explanations))


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    all_cases = list(make_cases())
    with running_phoenix(sys.argv[1]):
        send_spans(all_cases)
        theirs = wait_for_costs(len(all_cases))
    return report_differences(PriceBook(), all_cases, theirs)


if __name__ == "__main__":
    sys.exit(main())
