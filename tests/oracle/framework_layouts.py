"""What LangChain, pydantic-ai and the OpenAI Agents SDK cost, beside the harness.

    make framework-layouts (WORKLOADS="chat" for one)

Runs in an environment with the real packages. Each workload runs twice through each framework: as
its documentation shows it (the framework's own caching, the clock in the system prompt), and with
the program that `promptcache plan --for` prints. Exits with 1 where that program costs over 5 %
more than the harness.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from promptcache import Prompt
from promptcache.harness.frameworks.advice import write_framework_program
from promptcache_emulator.server import running_server
from tests.oracle.api_variants import MESSAGES, RESPONSES, Variant
from tests.oracle.harness_regret import plan_prompt, run_harness
from tests.oracle.layout_optimum import Meter, find_optimum
from tests.oracle.layout_workloads import (
    HANDBOOK,
    WORKLOADS,
    Call,
    answer_parts,
    question_parts,
)

ALLOWED: Final = 1.05
LOOP: Final = asyncio.new_event_loop()


class Send(NamedTuple):
    """Sends the next call of a conversation through a framework."""

    url: str
    wire: str
    program: Mapping[str, Any] | None
    """The names of the printed program; None for the framework's own way."""

    def question(self, call: Call) -> list[str]:
        return [*([call.context] if call.context else []), *question_parts(call)]


Framework = Callable[[Send, str, Call, list[Any]], None]
"""Sends a call to a model, with the conversation so far, and adds the turn to it."""


def langchain(send: Send, model: str, call: Call, history: list[Any]) -> None:
    messages = import_module("langchain_core.messages")
    blocks = [{"type": "text", "text": text} for text in send.question(call)]
    question = messages.HumanMessage(blocks)
    if send.program is None:
        _ask_langchain_agent(send, model, call, [*history, question])
    else:
        laid_out = send.program["lay_out"](history, question, call.now, call.shared)
        options = {"model": model} if send.wire == "responses" else {}
        chat_model = send.program["make_model"](**_langchain_options(send))
        chat_model.invoke(laid_out, **options)
    answer = [{"type": "text", "text": text} for text in answer_parts(call)]
    history += [question, messages.AIMessage(answer)]


def _langchain_options(send: Send) -> dict[str, Any]:
    url = send.url if send.wire == "anthropic" else f"{send.url}/v1"
    return {"base_url": url, "api_key": "k", "max_retries": 0}


def _ask_langchain_agent(send: Send, model: str, call: Call, messages: list[Any]) -> None:
    options = {"model": model, **_langchain_options(send)}
    middleware: list[Any] = []
    if send.wire == "anthropic":
        package = import_module("langchain_anthropic")
        caching = import_module("langchain_anthropic.middleware")
        middleware.append(caching.AnthropicPromptCachingMiddleware())
        chat_model = package.ChatAnthropic(**options)
    else:
        chat_model = import_module("langchain_openai").ChatOpenAI(use_responses_api=True, **options)
    agent = import_module("langchain.agents").create_agent(
        chat_model, tools=[], system_prompt=_system_text(call), middleware=middleware
    )
    agent.invoke({"messages": messages})


def _system_text(call: Call) -> str:
    return "\n".join(text for text in (HANDBOOK, call.shared, call.now) if text)


def pydantic_ai(send: Send, model: str, call: Call, history: list[Any]) -> None:
    messages = import_module("pydantic_ai.messages")
    if send.program is None:
        agent = _pydantic_agent(send, model, call)
        prompt = send.question(call)
    else:
        agent = send.program["make_agent"](provider=_pydantic_provider(send))
        lay_out = send.program["lay_out"]
        prompt = lay_out(bool(history), send.question(call), call.now, call.shared)
    LOOP.run_until_complete(agent.run(prompt, message_history=[*history]))
    answer = [messages.TextPart(text) for text in answer_parts(call)]
    turn = messages.ModelRequest([messages.UserPromptPart(prompt)])
    history += [turn, messages.ModelResponse(answer)]


def _pydantic_provider(send: Send) -> Any:
    if send.wire == "anthropic":
        client = import_module("anthropic").AsyncAnthropic(
            base_url=send.url, api_key="k", max_retries=0
        )
        module = import_module("pydantic_ai.providers.anthropic")
        return module.AnthropicProvider(anthropic_client=client)
    client = import_module("openai").AsyncOpenAI(
        base_url=f"{send.url}/v1", api_key="k", max_retries=0
    )
    return import_module("pydantic_ai.providers.openai").OpenAIProvider(openai_client=client)


def _pydantic_agent(send: Send, model: str, call: Call) -> Any:
    provider = _pydantic_provider(send)
    if send.wire == "anthropic":
        module, name = "pydantic_ai.models.anthropic", "AnthropicModel"
    else:
        module, name = "pydantic_ai.models.openai", "OpenAIResponsesModel"
    chat_model = getattr(import_module(module), name)(model, provider=provider)
    agent_class = import_module("pydantic_ai").Agent
    texts = "\n".join(text for text in (HANDBOOK, call.shared) if text)
    agent = agent_class(chat_model, instructions=texts, model_settings={"cache": True})
    if call.now:
        agent.instructions(lambda: call.now)
    return agent


def openai_agents(send: Send, model: str, call: Call, history: list[Any]) -> None:
    agents = import_module("agents")
    agents.set_tracing_disabled(True)  # the SDK sends its traces to OpenAI
    client = import_module("openai").AsyncOpenAI(
        base_url=f"{send.url}/v1", api_key="k", max_retries=0
    )
    options = {"name": "Support", "model": agents.OpenAIResponsesModel(model, client)}
    texts = send.question(call)
    question = {"role": "user", "content": [{"type": "input_text", "text": text} for text in texts]}
    if send.program is None:
        agent = agents.Agent(instructions=_system_text(call), **options)
        items = [*history, question]
    else:
        agent = send.program["make_agent"](**options)
        items = send.program["lay_out"](history, question, call.now, call.shared)
    LOOP.run_until_complete(agents.Runner.run(agent, items))
    answer = [{"type": "output_text", "text": text} for text in answer_parts(call)]
    history += [question, {"role": "assistant", "content": answer}]


FRAMEWORKS: Final[Mapping[str, tuple[Framework, tuple[Variant, ...]]]] = {
    "langchain": (langchain, (MESSAGES, RESPONSES)),
    "pydantic-ai": (pydantic_ai, (MESSAGES, RESPONSES)),
    "openai-agents": (openai_agents, (RESPONSES,)),
}


def run_framework(name: str, variant: Variant, calls: Iterable[Call], *, is_advised: bool) -> float:
    """Return what the calls cost through a framework, relative to plain input."""
    listed = list(calls)
    ask, _ = FRAMEWORKS[name]
    programs = [_load_program(name, variant, listed, model) for model in variant.models]
    meter = Meter(variant)
    histories: dict[int, list[Any]] = {}
    with running_server(meter.emulator) as url:
        for call in listed:
            meter.clock.advance(call.gap)
            send = Send(url, variant.wire, programs[call.model] if is_advised else None)
            history = histories.setdefault(call.conversation, [])
            ask(send, variant.models[call.model], call, history)
    assert len(meter.emulator.records) == len(listed)
    return meter.relative_cost()


def _load_program(name: str, variant: Variant, calls: list[Call], model: str) -> Mapping[str, Any]:
    """Return the names of the program that `promptcache plan --for` prints."""
    prompt = Prompt("regret", system=HANDBOOK)
    plan = plan_prompt(prompt, variant, calls[: len(calls) // 2], model)
    names: dict[str, Any] = {"HANDBOOK": HANDBOOK}
    exec(write_framework_program(plan, name), names)
    return names


def compare(workloads: Iterable[str]) -> Iterator[float]:
    """Print a table for each API, and yield the quotients of advised framework and harness."""
    for variant in (MESSAGES, RESPONSES):
        names = [name for name, (_, variants) in FRAMEWORKS.items() if variant in variants]
        columns = [column for name in names for column in (name, f"{name}, advised")]
        print(f"\n| {variant.name} | optimum | harness | {' | '.join(columns)} |")
        print(f"|---|{'--:|' * (len(columns) + 2)}")
        for workload in workloads:
            make_calls = WORKLOADS[workload]
            optimum, _ = find_optimum(variant, make_calls())
            harness = run_harness(variant, make_calls())
            cells = [optimum, harness]
            for name in names:
                cells.append(run_framework(name, variant, make_calls(), is_advised=False))
                advised = run_framework(name, variant, make_calls(), is_advised=True)
                cells.append(advised)
                yield advised / harness
            print(f"| {workload} | {' | '.join(f'{cell:.3f}' for cell in cells)} |", flush=True)


def main(workloads: Sequence[str]) -> int:
    """Compare all or some workloads, and return the exit code."""
    worst = max(compare(workloads or [*WORKLOADS]))
    print(f"\nWorst quotient of an advised framework and the harness: {worst:.4f}")
    return 1 if worst > ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
