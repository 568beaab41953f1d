"""Write the program with which a framework lays out prompts as the harness does."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, final, get_args

from promptcache.harness.caching_style import caching_style_of
from promptcache.harness.frameworks import langchain, openai_agents, pydantic_ai
from promptcache.harness.plan import Plan
from promptcache.harness.prompt_error import PromptError

Framework = Literal["langchain", "pydantic-ai", "openai-agents"]

_GPT: Final = re.compile(r"(?:ft:)?(?:gpt-|o\d|chatgpt-|codex-)")


@final
class _Programs(NamedTuple):
    """The programs of one framework; None where it cannot mark such prompts."""

    claude: str | None
    marked_gpt: str
    automatic: str


_PROGRAMS: Final[dict[Framework, _Programs]] = {
    "langchain": _Programs(langchain.CLAUDE, langchain.MARKED_GPT, langchain.AUTOMATIC),
    "pydantic-ai": _Programs(pydantic_ai.CLAUDE, pydantic_ai.MARKED_GPT, pydantic_ai.AUTOMATIC),
    "openai-agents": _Programs(None, openai_agents.MARKED_GPT, openai_agents.AUTOMATIC),
}


def write_framework_program(plan: Plan, framework: str) -> str:
    """Return the settings and the placement of messages that follow the plan, as Python.

    The program uses the names that the application has: `HANDBOOK` is the static layer. Raise
    PromptError for a framework that is not known, or that cannot mark prompts for the model.
    """
    if framework not in _PROGRAMS:
        raise PromptError("for", f"is {framework!r}; known are {', '.join(get_args(Framework))}")
    programs = _PROGRAMS[framework]
    style = caching_style_of(plan.wire, plan.model)
    if style.breakpoints == "automatic":
        return _fill(programs.automatic, plan)
    if not plan.should_cache:
        raise PromptError("for", f"the plan does not cache: {plan.layers[0].reason}")
    if plan.wire == "responses" and _GPT.match(plan.model):
        return _fill(programs.marked_gpt, plan)
    if plan.wire == "anthropic" and programs.claude is not None:
        return _fill(programs.claude, plan)
    raise PromptError("for", f"{framework} cannot mark prompts of {plan.model} on {plan.wire}")


def _fill(program: str, plan: Plan) -> str:
    ttls = plan.ttls
    default = caching_style_of(plan.wire, plan.model).ttls[:1]
    fallback = str(default[0]) if default else ""
    values = {
        "MODEL": plan.model,
        "STATIC_TTL": ttls.get("static") or fallback,
        "SHARED_TTL": ttls.get("shared") or fallback,
        "HISTORY_TTL": ttls.get("history") or fallback,
        "CACHE_KEY": plan.cache_key or "",
    }
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], program).lstrip()
