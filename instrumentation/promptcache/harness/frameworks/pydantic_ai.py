"""Programs for pydantic-ai (2.68)."""

from typing import Final

_LAY_OUT: Final = '''

def lay_out(has_history, question, now="", shared=""):
    """Return the user prompt of a call; `question` is a list of texts.

    What changes in every call goes into `now` and not into the instructions. It may stay in the
    message history, where it is a fixed text of an older turn.
    """
    parts = [*question]
    if shared and not has_history:
        parts = [shared, CachePoint(ttl="$SHARED_TTL"), *parts]
    if has_history:  # a first question may stay the only one, so it gets no mark
        parts.append(CachePoint(ttl="$HISTORY_TTL"))
    return [*parts, now] if now else parts
'''

CLAUDE: Final = (
    """
# pydantic-ai with $MODEL. Leave `cache=True` out: it marks the end of every prompt, also of one
# that nobody reads again.
from pydantic_ai import Agent, CachePoint
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings


def make_agent(**options):
    model = AnthropicModel("$MODEL", **options)
    settings = AnthropicModelSettings(anthropic_cache_instructions="$STATIC_TTL")
    return Agent(model, instructions=HANDBOOK, model_settings=settings)
"""
    + _LAY_OUT
)

MARKED_GPT: Final = """
# pydantic-ai with $MODEL.
from pydantic_ai import Agent, CachePoint
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings


def make_agent(**options):
    model = OpenAIResponsesModel("$MODEL", **options)
    settings = OpenAIResponsesModelSettings(
        openai_prompt_cache_options={"mode": "explicit", "ttl": "$STATIC_TTL"},
        openai_prompt_cache_key="$CACHE_KEY",
        openai_cache_instructions=True,
    )
    return Agent(model, instructions=HANDBOOK, model_settings=settings)
""" + _LAY_OUT.replace('ttl="$SHARED_TTL"', "").replace('ttl="$HISTORY_TTL"', "")

AUTOMATIC: Final = '''
# pydantic-ai with $MODEL: nothing to mark. What changes goes last, and the history only grows.
from pydantic_ai import Agent


def make_agent(model):
    return Agent(model, instructions=HANDBOOK)


def lay_out(has_history, question, now="", shared=""):
    """Return the user prompt of a call; `question` is a list of texts.

    What changes in every call goes into `now` and not into the instructions.
    """
    parts = [*question] if has_history or not shared else [shared, *question]
    return [*parts, now] if now else parts
'''
