"""A verdict names a changed parameter in our words only, never in a user's."""

from __future__ import annotations

from typing import Any, Final

import pytest

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import Param, ParsedPrompt, Request, ResponseFacts, Usage, Verdict
from promptcache.providers.anthropic.wire import MESSAGES, MESSAGES_PARAMS
from promptcache.providers.bedrock.wire import CONVERSE, CONVERSE_PARAMS
from promptcache.providers.google.wire import CONTENT_PARAMS, GENERATE_CONTENT
from promptcache.providers.openai.wire import CHAT, CHAT_PARAMS, RESPONSES, RESPONSES_PARAMS
from promptcache.providers.prompt import OTHER_PARAM, PARAM_NAMES, ParamLevels
from promptcache.providers.wire_format import WireFormat
from tests.support.diagnosis_lab import build_prompt

SECRET: Final = "SecretProjectName"
SECRETS: Final[dict[str, Any]] = {SECRET: {SECRET: SECRET}}
TURNS: Final = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
HOSTILE_BODIES: Final[list[tuple[WireFormat, dict[str, Any]]]] = [
    (CHAT, {"messages": TURNS}),
    (RESPONSES, {"input": TURNS, "instructions": "Be brief."}),
    (MESSAGES, {"messages": TURNS}),
    (CONVERSE, {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}),
    (GENERATE_CONTENT, {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
]


def diagnose(before: tuple[Param, ...], after: tuple[Param, ...]) -> Verdict:
    """Return the verdict of a second call that read nothing, with other parameters."""
    diagnosis, verdict = Diagnosis(Settings()), Verdict("cold")
    for at, params in enumerate((before, after)):
        messages = ("one", "two", "three")[: at + 2]
        prompt: ParsedPrompt = build_prompt(*messages, params=params)
        request = Request(
            "openai.chat", "openai", "chat", "gpt-4.1", "h", 443, False, {}, b"t", 1e9 + at
        )
        verdict = diagnosis.finish(
            diagnosis.start(request, prompt),
            facts=ResponseFacts(),
            usage=Usage(3000, 3000, 0, None),
            cost=None,
            has_failed=False,
            ended_at=1e9 + at,
        )
    return verdict


@pytest.mark.parametrize(
    "levels",
    [CHAT_PARAMS, RESPONSES_PARAMS, MESSAGES_PARAMS, CONVERSE_PARAMS, CONTENT_PARAMS],
    ids=["chat", "responses", "messages", "converse", "content"],
)
def test_the_names_of_all_lists_may_be_shown(levels: ParamLevels) -> None:
    assert {name for name, _ in levels} <= PARAM_NAMES


@pytest.mark.parametrize(
    ("wire_format", "body"), HOSTILE_BODIES, ids=[one.name for one, _ in HOSTILE_BODIES]
)
def test_no_key_of_a_user_becomes_the_name_of_a_parameter(
    wire_format: WireFormat, body: dict[str, Any]
) -> None:
    """Each known field holds secrets as keys, and so do fields that nobody knows."""
    fields = {name.split(".")[0]: SECRETS for name in PARAM_NAMES}
    hostile = {**fields, **SECRETS, "metadata": SECRETS, "extra_body": SECRETS, **body}
    request = Request(wire_format.name, "p", "chat", "m", "h", 443, False, hostile, b"t", 0.0)
    prompt = wire_format.parse_prompt(request)
    assert prompt is not None
    assert prompt.params
    assert {param.name for param in prompt.params} <= PARAM_NAMES


def test_a_changed_parameter_is_named_and_any_other_is_other() -> None:
    for name, shown in (("verbosity", "verbosity"), (SECRET, OTHER_PARAM)):
        before, after = ((Param(name, value, "tools"),) for value in ("low", "high"))
        verdict = diagnose(before, after)
        assert (verdict.reason, verdict.parameter) == ("param_changed", shown)
