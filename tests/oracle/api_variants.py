"""The APIs over which the layouts are judged, and the documented rules of their caches.

Imports nothing of the harness, so that it can judge it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from promptcache_emulator import profiles
from promptcache_emulator.profiles import CacheProfile, select_profile

NOW: Final = 1_795_000_000.0
"""Epoch seconds of a day in November 2026."""


class Variant(NamedTuple):
    """An API with two models. The second one is for a switch of the model.

    `form` is how requests are written, `marks` are the TTLs that a breakpoint can have, and `rules`
    are changes to the emulator's profile. `start` is in epoch seconds.
    """

    name: str
    wire: str
    form: str
    models: tuple[str, str]
    path: str
    marks: tuple[str, ...] = ()
    rules: str = ""
    start: float = NOW

    def with_rules(self, rules: str) -> Variant:
        return self._replace(name=f"{self.name}, {rules}", rules=rules)


_CLAUDE: Final = ("claude-opus-4-8", "claude-sonnet-4-6")
_BEDROCK_CLAUDE: Final = tuple(f"us.anthropic.{name}-v1:0" for name in _CLAUDE)
_VERTEX: Final = "/v1/projects/p/locations/global/publishers"
_HOURS: Final = ("5m", "1h")
_GPT: Final = ("gpt-6-sol", "gpt-5.6")

MESSAGES: Final = Variant("Messages", "anthropic", "messages", _CLAUDE, "/v1/messages", _HOURS)
RESPONSES: Final = Variant(
    "Responses", "responses", "responses", _GPT, "/v1/responses", ("30m", "12h")
)
CHAT: Final = Variant("Chat Completions", "chat", "chat", _GPT, "/v1/chat/completions", ("30m",))
GEMINI: Final = Variant(
    "generateContent",
    "gemini",
    "gemini",
    ("gemini-2.5-flash", "gemini-2.5-pro"),
    "/v1beta/models/{model}:generateContent",
)
CONVERSE: Final = Variant(
    "Converse, Claude",
    "converse",
    "converse",
    (_BEDROCK_CLAUDE[0], _BEDROCK_CLAUDE[1]),
    "/model/{model}/converse",
    _HOURS,
)
VERTEX_MESSAGES: Final = MESSAGES._replace(
    name="Messages on Vertex AI", path=_VERTEX + "/anthropic/models/{model}:rawPredict"
)
INVOKE_MODEL: Final = CONVERSE._replace(
    name="InvokeModel", wire="invoke_model", form="messages", path="/model/{model}/invoke"
)
VERTEX_GEMINI: Final = GEMINI._replace(
    name="generateContent on Vertex AI", path=_VERTEX + "/google/models/{model}:generateContent"
)

VARIANTS: Final = (
    MESSAGES,
    VERTEX_MESSAGES,
    INVOKE_MODEL,
    CONVERSE,
    CONVERSE._replace(
        name="Converse, Nova",
        models=("us.amazon.nova-pro-v1:0", "us.amazon.nova-lite-v1:0"),
        marks=("5m",),
    ),
    CHAT,
    CHAT._replace(
        name="Azure Chat Completions",
        models=("gpt-4.1", "gpt-4.1-mini"),
        path="/openai/deployments/{model}/chat/completions",
        marks=(),
    ),
    CHAT._replace(
        name="Groq",
        models=("moonshotai/kimi-k2", "llama-4"),
        path="/openai/v1/chat/completions",
        marks=(),
    ),
    RESPONSES,
    GEMINI,
    VERTEX_GEMINI,
)
"""The API variants. Foundry's Messages are those of Anthropic, LiteLLM's calls those of others."""

READINGS: Final = tuple(
    variant.with_rules(f"implicit={mode}")
    for variant in (RESPONSES, CHAT)
    for mode in ("latest", "developer", "pinned")
)
"""GPT-5.6 and later under each reading of the provider's own breakpoints."""

_PROFILES: Final[tuple[tuple[Variant, tuple[CacheProfile, ...]], ...]] = (
    (MESSAGES, profiles.ANTHROPIC_PROFILES),
    (CONVERSE, profiles.BEDROCK_PROFILES),
    (CHAT, profiles.OPENAI_PROFILES),
    (GEMINI, profiles.GEMINI_PROFILES),
    (VERTEX_GEMINI, profiles.VERTEX_PROFILES),
    (VERTEX_MESSAGES, profiles.ANTHROPIC_PROFILES),
    (INVOKE_MODEL, profiles.BEDROCK_PROFILES),
    (RESPONSES, profiles.OPENAI_PROFILES),
)
_CLAUDES: Final = (
    "claude-sonnet-4-5",
    "claude-3-5-haiku",
    "claude-haiku-4-5",
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-sonnet-4-6",
    "claude-opus-5",
    "claude-sonnet-5-5",
    "claude-fable-5",
)
_MODELS: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": _CLAUDES,
    "invoke_model": _CLAUDES,
    "converse": (*_CLAUDES, "nova-pro"),
    "chat": ("kimi-k2", "gpt-4.1", "gpt-6-sol"),
    "responses": ("kimi-k2", "gpt-4.1", "gpt-6-sol"),
    "gemini": ("gemini-2.5-flash", "gemini-3.5-flash", "gemini-3-flash", "gemini-3.1-pro"),
}
_BEDROCK_DATES: Final[Mapping[str, str]] = {
    "claude-sonnet-4-5": "-20250929",
    "claude-3-5-haiku": "-20241022",
    "claude-haiku-4-5": "-20251001",
}
"""The dates in the ids of older models. Newer ids have none."""
_DAYS: Final = ("2026-05-01", "2026-06-10", "2026-08-01", "2026-11-18")


def profile_variants() -> Iterator[Variant]:
    """Yield a variant for each API and documented profile: with a model and on its own day."""
    for variant, rows in _PROFILES:
        found: dict[int, Variant] = {}
        for day in _DAYS:
            start = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
            for model in _MODELS[variant.wire]:
                row = select_profile(rows, model, start, {})
                place = next(index for index, one in enumerate(rows) if one is row or one == row)
                if place not in found:
                    found[place] = _on_day(variant, model, day, start)
        yield from found.values()


def _on_day(variant: Variant, model: str, day: str, start: float) -> Variant:
    marks = variant.marks
    if variant.wire in ("chat", "responses") and model != "gpt-6-sol":
        marks = ()
    if variant.wire in ("converse", "invoke_model"):
        # AWS's page: an hour is for Claude 4.5 and later.
        marks = ("5m",) if "nova" in model or "claude-3" in model else marks
        vendor = "amazon" if "nova" in model else "anthropic"
        model = f"us.{vendor}.{model}{_BEDROCK_DATES.get(model, '')}-v1:0"
    name = f"{variant.name}, {model} on {day}"
    return variant._replace(name=name, models=(model, model), marks=marks, start=start)
