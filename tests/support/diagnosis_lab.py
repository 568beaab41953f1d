"""Build prompts and diagnose calls with hand-made usage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis, PendingCall
from promptcache.model import (
    Block,
    Cost,
    ParsedPrompt,
    Request,
    ResponseFacts,
    Usage,
    Verdict,
)
from promptcache.prefix.fingerprint import block_text_or_json

FILLER = "The agent reads the order, checks the policy and answers in plain words. " * 40
COST = Cost(
    1.0, input_price=10.0, cache_read_price=1.0, cache_write_prices={"5m": 12.5, "30m": 12.5}
)


def text_block(
    section: Any, index: int, words: str, breakpoint_ttl: str | None = None, kind: str = "text"
) -> Block:
    role = "system" if section == "system" else "user"
    return Block(section, index, kind, {"role": role, "content": words}, breakpoint_ttl)


def tool_block(index: int, name: str, **more: Any) -> Block:
    return Block(
        "tools", index, "function", {"name": name, "description": FILLER[:300] + name, **more}
    )


def build_prompt(
    *messages: str,
    system: str = FILLER,
    tools: tuple[Block, ...] = (),
    breakpoints: tuple[int, ...] = (),
    **more: Any,
) -> ParsedPrompt:
    message_blocks = [
        text_block("messages", index, words, "" if index in breakpoints else None)
        for index, words in enumerate(messages)
    ]
    return ParsedPrompt(
        (
            *tools,
            text_block("system", 0, system, "" if -1 in breakpoints else None),
            *message_blocks,
        ),
        **more,
    )


@dataclass
class DiagnosisLab:
    """One application and its provider, which reports the usage that a test gives.

    Four bytes of a prompt count as one token.
    """

    provider: str = "openai"
    model: str = "gpt-4.1"
    now: float = 1e9
    key: bytes = b"one"
    diagnosis: Diagnosis = field(default_factory=lambda: Diagnosis(Settings()))

    def count_tokens(self, prompt: ParsedPrompt) -> int:
        return sum(len(block_text_or_json(block.data)) for block in prompt.blocks) // 4

    def start_call(self, prompt: ParsedPrompt | None, **more: Any) -> PendingCall:
        wire, model, key = (
            more.get("wire", "w"),
            more.get("model", self.model),
            more.get("key", self.key),
        )
        request = Request(wire, self.provider, "chat", model, "h", 443, False, {}, key, self.now)
        return self.diagnosis.start(request, prompt)

    def finish_call(
        self, pending_call: PendingCall, read: int | None = 0, write: int | None = None, **more: Any
    ) -> Verdict:
        total = more.get("input") or (
            self.count_tokens(pending_call.tracked.prompt) if pending_call.tracked else 2000
        )
        split = {more.get("ttl", "5m"): write} if write else {}
        usage = Usage(total, total - (read or 0) - (write or 0), read, write, split)
        facts = more.get("facts", ResponseFacts(id=more.get("id"), model=more.get("served")))
        return self.diagnosis.finish(
            pending_call,
            facts=facts,
            usage=usage,
            cost=COST,
            has_failed=False,
            ended_at=self.now + 1,
        )

    def diagnose_call(
        self,
        prompt: ParsedPrompt | None,
        read: int | None = 0,
        write: int | None = None,
        wait: float = 5.0,
        **more: Any,
    ) -> Verdict:
        self.now += wait
        return self.finish_call(self.start_call(prompt, **more), read, write, **more)


def claude_lab(**more: Any) -> DiagnosisLab:
    return DiagnosisLab("anthropic", "claude-sonnet-4-6", **more)


def gpt56_lab() -> DiagnosisLab:
    return DiagnosisLab("openai", "gpt-5.6")
