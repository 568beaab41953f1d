"""The data that flows through promptcache: data classes only, without logic.

Each stage of the data's way adds one value and changes none before it: `Request` -> `ParsedPrompt`
-> hashes; events -> `ResponseFacts` -> `Usage` -> `Cost` -> `Verdict`; a `Call` holds them all.
Instances are always truthy, so `call.usage and call.usage.input_tokens` is None only if the usage
is missing.
"""

from promptcache.model.cached_content import CachedContentInfo
from promptcache.model.call import Call, CallSite
from promptcache.model.prompt import (
    SECTIONS,
    Block,
    InvalidationLevel,
    Param,
    ParsedPrompt,
    PlainBlock,
    PrefixHashes,
    PromptBlocks,
    Section,
    data_of_plain_block,
)
from promptcache.model.request import Request
from promptcache.model.response import MAX_CHOICES, ResponseFacts
from promptcache.model.usage import TTL, TTL_SECONDS, Cost, UnknownCostReason, Usage
from promptcache.model.verdict import OUTCOMES, Outcome, Verdict

__all__ = [
    "MAX_CHOICES",
    "OUTCOMES",
    "SECTIONS",
    "TTL",
    "TTL_SECONDS",
    "Block",
    "CachedContentInfo",
    "Call",
    "CallSite",
    "Cost",
    "InvalidationLevel",
    "Outcome",
    "Param",
    "ParsedPrompt",
    "PlainBlock",
    "PrefixHashes",
    "PromptBlocks",
    "Request",
    "ResponseFacts",
    "Section",
    "UnknownCostReason",
    "Usage",
    "Verdict",
    "data_of_plain_block",
]
