"""The vocabulary: what a call is, from the request on the wire to the verdict. No logic, no imports of ours.

All are final, so a value is never falsy and `call.usage and call.usage.input` says what it seems to say. Every stage
of the way of the data adds one of these, and none changes what came before it: Request -> Prompt -> digests;
events -> Facts -> Usage -> Cost -> Verdict; all of them together are a Call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, final

Section = Literal["tools", "system", "messages"]
"""Where a block stands, in the order in which every provider reads them."""

InvalidationLevel = Literal["tools", "system", "messages", "none"]
"""The first section that a changed parameter takes out of the cache; `none` where the cache survives."""

Outcome = Literal[
    "error",
    "unreported",
    "prewarm",
    "partial",
    "hit",
    "not_requested",
    "below_minimum",
    "miss",
    "cold",
]
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "error",
    "unreported",
    "prewarm",
    "partial",
    "hit",
    "not_requested",
    "below_minimum",
    "miss",
    "cold",
)
"""In the order of their precedence (DESIGN section 6): the first that applies is the call's outcome."""

MAX_CHOICES: Final = 128
"""No call has more answers than this, each with a reason why it ended."""

TTL = Literal["5m", "30m", "1h", "12h", "unknown"]
TTL_SECONDS: Final[Mapping[str, int]] = MappingProxyType(
    {"5m": 300, "30m": 1800, "1h": 3600, "12h": 43200}
)

UnknownCostReason = Literal["model", "price", "usage", "tier"]
"""Why a call has no cost: which piece of knowledge is missing."""

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@final
class Request(NamedTuple):
    """One call as the application asked for it, after the SDK prepared it.

    `model` may come from the URL and not from the body; `body` is the wire body as plain data, never copied and
    never to be changed; `cache_scope` is a digest of the credential under the process's own key; `started_at` is in epoch
    seconds.
    """

    wire_format_name: str
    provider: str
    operation: str
    model: str | None
    host: str | None
    port: int | None
    stream: bool
    body: Mapping[str, Any]
    cache_scope: bytes
    started_at: float


@final
@dataclass(slots=True)
class Block:
    """The smallest piece of a prompt that a provider caches or drops as a whole. Not changed once made.

    `index` counts within the section; `kind` is the wire's own word (`text`, `image`, `function` ...); `data` is
    the block as sent, less its cache marker; `breakpoint_ttl` is the TTL that the marker asks for, `""` where it names none,
    None where there is no marker.
    """

    section: Section
    index: int
    kind: str
    data: Any
    breakpoint_ttl: str | None = None


@final
class Param(NamedTuple):
    """A request parameter that decides whether a cached prefix may be used, without being text of it."""

    name: str
    value: Any
    invalidation_level: InvalidationLevel


@final
class ParsedPrompt(NamedTuple):
    """A request as the provider's cache sees it.

    `is_complete` is False where the server holds an earlier part (`server_state_id` then identifies that part, in the process
    only). `caching_mode` says how caching is asked for: `automatic` (the provider caches by itself), `implicit` (it places
    a breakpoint by itself), `explicit` (only marked blocks) or `none` (on request, which was not made). `cache_write_ttl` is
    the TTL that the whole request asks for. `is_prewarm` marks a call made only to fill the cache.
    """

    blocks: tuple[Block, ...]
    params: tuple[Param, ...] = ()
    is_complete: bool = True
    server_state_id: str | None = None
    caching_mode: Literal["automatic", "implicit", "explicit", "none"] = "automatic"
    ttl: str | None = None
    is_prewarm: bool = False


@final
class ResponseFacts(NamedTuple):
    """What one response, or one stream event, reported. Merging two: the later non-null value wins.

    `usage_counters` holds the provider's own counters by their dotted wire names, unchecked. `provider_diagnostics` is the provider's own
    word on the cache, `billed_usd` the amount in USD that it says it charged. `cache_write_ttl` is the lifetime of what it wrote.
    `has_content` marks an event that carried output, `is_terminal` one after which nothing more is to come, `error_code` the
    provider's own error code.
    """

    model: str | None = None
    id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    usage_counters: Mapping[str, Any] = _EMPTY
    provider_diagnostics: Mapping[str, Any] | None = None
    billed_usd: float | None = None
    cache_write_ttl: str | None = None
    has_content: bool = False
    is_terminal: bool = False
    error_code: str | None = None
    is_batch: bool = False


@final
class Usage(NamedTuple):
    """Tokens in disjoint classes: `uncached + (read or 0) + (write or 0) == input`, all of them >= 0.

    `cache_read_tokens` and `cache_write_tokens` are None where the provider did not report them, which is not 0. `cache_write_by_ttl` sums to
    `cache_write_tokens`. `output_tokens` includes `reasoning_tokens`. `modality_tokens` splits some class further where prices differ, by names
    such as `audio.input`, `audio.read`, `audio.output`, `image.input`; `server_tool_calls` counts server tools by name.
    `inconsistencies` names what did not add up.
    """

    input_tokens: int
    uncached_tokens: int
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_by_ttl: Mapping[str, int] = _EMPTY
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    modality_tokens: Mapping[str, int] = _EMPTY
    server_tool_calls: Mapping[str, int] = _EMPTY
    inconsistencies: tuple[str, ...] = ()


@final
class Cost(NamedTuple):
    """What a call cost, in USD. `amount` is None where it is not known, and `unknown_reason` then says why.

    `parts` holds `input_tokens`, `cache_read`, `cache_write`, `output_tokens` and, where billed, `server_tool_calls`; they sum to `amount`
    unless the provider itself reported the amount. `input_price`, `cache_read_price` and `cache_write_prices` (by TTL) are marginal prices in USD
    per token. `price_date` is the day of the price.
    """

    amount: float | None
    parts: Mapping[str, float] = _EMPTY
    without_cache: float | None = None
    input_price: float | None = None
    cache_read_price: float | None = None
    cache_write_prices: Mapping[str, float] = _EMPTY
    source: Literal["provider", "local"] = "local"
    price_date: str | None = None
    unknown_reason: UnknownCostReason | None = None


@final
@dataclass(slots=True)
class Verdict:
    """How the cache did on one call, and why. Not changed once given out.

    `missed_tokens` counts the reusable tokens that were not read, `wasted_usd` is what that cost too much in USD. `section`,
    `index` and `offset` (bytes) say where the prefix broke, `hint` what the text there looks like. `prefix_family` is the
    exported hash of the first relative seen. `confidence` lies in 0..1.
    """

    outcome: Outcome
    reason: str | None = None
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None
    missed_tokens: int | None = None
    wasted_usd: float | None = None
    confidence: float | None = None
    source: Literal["local", "provider"] | None = None
    provider_reason: str | None = None
    prefix_family: str | None = None


@final
class PrefixHashes(NamedTuple):
    """The exported shape of a prompt: hashes that read `p1:<16 hex>` or `k1:<16 hex>`, None where not exported."""

    hash: str | None
    tools_hash: str | None
    system_hash: str | None
    scope_hash: str | None
    block_count: int
    breakpoints: tuple[str, ...]
    is_complete: bool
    chain: tuple[str, ...] = ()
    chain_start: int | None = None


@final
class CachedContentInfo(NamedTuple):
    """A cache that the application made and named, as the provider describes it; times in epoch seconds.

    `expire_time_text` is the provider's own wording of `expires_at`.
    """

    name: str | None = None
    model: str | None = None
    token_count: int | None = None
    created_at: float | None = None
    expires_at: float | None = None
    expire_time_text: str | None = None


@final
class CallSite(NamedTuple):
    """The application's own line that made the call."""

    function: str
    file: str
    line: int


@final
class Call(NamedTuple):
    """Everything that is known of one call, as attributes and metrics read it.

    `time_to_first_chunk` and `duration` are in seconds from the start; `retries` counts resends; `error_type` is the
    exception's type name; `context_attributes` holds attributes of the user's choice.
    """

    request: Request
    facts: ResponseFacts
    verdict: Verdict
    prompt: ParsedPrompt | None = None
    prefix: PrefixHashes | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    call_site: CallSite | None = None
    error_type: str | None = None
    retries: int | None = None
    time_to_first_chunk: float | None = None
    duration: float = 0.0
    context_attributes: Mapping[str, str | bool | int | float] = _EMPTY
