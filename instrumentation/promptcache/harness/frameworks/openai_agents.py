"""Programs for the OpenAI Agents SDK (0.24)."""

from typing import Final

MARKED_GPT: Final = '''
# OpenAI Agents SDK with $MODEL. `instructions` cannot carry a breakpoint, so the handbook is the
# first item of the input.
from agents import Agent, ModelSettings


def make_agent(**options):
    settings = ModelSettings(
        prompt_cache_options={"mode": "explicit", "ttl": "$STATIC_TTL"},
        extra_args={"prompt_cache_key": "$CACHE_KEY"},
    )
    return Agent(model_settings=settings, **options)


def block(text, is_marked=False):
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}} if is_marked else {}
    return {"type": "input_text", "text": text, **mark}


def mark_last(item):
    *before, last = item["content"]
    return {**item, "content": [*before, block(last["text"], is_marked=True)]}


def lay_out(history, question, now="", shared=""):
    """Return the input of a call. Keep `history` and `question` (an item) as given.

    What changes in every call goes into `now` and not into the first item.
    """
    head = [block(text, is_marked=True) for text in (HANDBOOK, shared) if text]
    items = [*history]
    if history:  # a first question may stay the only one, so it gets no mark
        last = max(at for at, item in enumerate(items) if item.get("role") == "user")
        items[last] = mark_last(items[last])
        question = mark_last(question)
    if now:
        question = {**question, "content": [*question["content"], block(now)]}
    return [{"role": "developer", "content": head}, *items, question]
'''

AUTOMATIC: Final = '''
# OpenAI Agents SDK with $MODEL: nothing to mark. What changes goes last, the history only grows.
from agents import Agent, ModelSettings


def make_agent(**options):
    settings = ModelSettings(extra_args={"prompt_cache_key": "$CACHE_KEY"})
    return Agent(instructions=HANDBOOK, model_settings=settings, **options)


def lay_out(history, question, now="", shared=""):
    """Return the input of a call. Keep `history` and `question` (an item) as given.

    What changes in every call goes into `now` and not into the instructions.
    """
    first = [{"role": "developer", "content": shared}] if shared else []
    if now:
        content = [*question["content"], {"type": "input_text", "text": now}]
        question = {**question, "content": content}
    return [*first, *history, question]
'''
