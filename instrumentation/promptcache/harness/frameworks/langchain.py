"""Programs for LangChain (langchain-anthropic 1.7, langchain-openai 1.7)."""

from typing import Final

CLAUDE: Final = '''
# LangChain with $MODEL. Leave AnthropicPromptCachingMiddleware out: it marks the end of every
# prompt, also of one that nobody reads again, and it gives all marks one TTL.
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage


def make_model(**options):
    return ChatAnthropic(model="$MODEL", **options)


def mark(block, ttl):
    return {**block, "cache_control": {"type": "ephemeral", "ttl": ttl}}


def mark_last(message, ttl):
    *before, last = message.content
    return HumanMessage([*before, mark(last, ttl)])


def lay_out(history, question, now="", shared=""):
    """Return the messages of a call. Keep `history` and `question` (lists of blocks) as given.

    What changes in every call goes into `now` and not into the system prompt.
    """
    system = [mark({"type": "text", "text": HANDBOOK}, "$STATIC_TTL")]
    if shared:
        system.append(mark({"type": "text", "text": shared}, "$SHARED_TTL"))
    messages = [*history]
    if history:  # a first question may stay the only one, so it gets no mark
        last = max(at for at, message in enumerate(messages) if message.type == "human")
        messages[last] = mark_last(messages[last], "$HISTORY_TTL")
        question = mark_last(question, "$HISTORY_TTL")
    if now:
        question = HumanMessage([*question.content, {"type": "text", "text": now}])
    return [SystemMessage(system), *messages, question]
'''

MARKED_GPT: Final = '''
# LangChain with $MODEL.
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI


def make_model(**options):
    cache = {"mode": "explicit", "ttl": "$STATIC_TTL"}
    return ChatOpenAI(
        model="$MODEL", use_responses_api=True, prompt_cache_options=cache, **options
    ).bind(prompt_cache_key="$CACHE_KEY")


def mark(block):
    return {**block, "prompt_cache_breakpoint": {"mode": "explicit"}}


def mark_last(message):
    *before, last = message.content
    return HumanMessage([*before, mark(last)])


def lay_out(history, question, now="", shared=""):
    """Return the messages of a call. Keep `history` and `question` (lists of blocks) as given.

    What changes in every call goes into `now` and not into the system prompt.
    """
    system = [mark({"type": "text", "text": HANDBOOK})]
    if shared:
        system.append(mark({"type": "text", "text": shared}))
    messages = [*history]
    if history:  # a first question may stay the only one, so it gets no mark
        last = max(at for at, message in enumerate(messages) if message.type == "human")
        messages[last] = mark_last(messages[last])
        question = mark_last(question)
    if now:
        question = HumanMessage([*question.content, {"type": "text", "text": now}])
    return [SystemMessage(system), *messages, question]
'''

AUTOMATIC: Final = '''
# LangChain with $MODEL: nothing to mark. What changes goes last, and the history only grows.
from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage, SystemMessage


def make_model(**options):
    return init_chat_model("$MODEL", **options)


def lay_out(history, question, now="", shared=""):
    """Return the messages of a call. Keep `history` and `question` (lists of blocks) as given.

    What changes in every call goes into `now` and not into the system prompt.
    """
    system = [{"type": "text", "text": text} for text in (HANDBOOK, shared) if text]
    if now:
        question = HumanMessage([*question.content, {"type": "text", "text": now}])
    return [SystemMessage(system), *history, question]
'''
