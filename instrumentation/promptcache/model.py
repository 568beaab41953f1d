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

Level = Literal["tools", "system", "messages", "none"]
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

CHOICES: Final = 128
"""No call has more answers than this, each with a reason why it ended."""

TTL = Literal["5m", "30m", "1h", "12h", "unknown"]
TTL_SECONDS: Final[Mapping[str, int]] = MappingProxyType(
    {"5m": 300, "30m": 1800, "1h": 3600, "12h": 43200}
)

Unknown = Literal["model", "price", "usage", "tier"]
"""Why a call has no cost: which piece of knowledge is missing."""

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@final
class Request(NamedTuple):
    """One call as the application asked for it, after the SDK prepared it.

    `model` may come from the URL and not from the body; `body` is the wire body as plain data, never copied and
    never to be changed; `tenant` is a digest of the credential under the process's own key; `started` is in epoch
    seconds.
    """

    wire: str
    provider: str
    operation: str
    model: str | None
    host: str | None
    port: int | None
    stream: bool
    body: Mapping[str, Any]
    tenant: bytes
    started: float


@final
@dataclass(slots=True)
class Block:
    """The smallest piece of a prompt that a provider caches or drops as a whole. Not changed once made.

    `index` counts within the section; `kind` is the wire's own word (`text`, `image`, `function` ...); `data` is
    the block as sent, less its cache marker; `mark` is the TTL that the marker asks for, `""` where it names none,
    None where there is no marker.
    """

    section: Section
    index: int
    kind: str
    data: Any
    mark: str | None = None


@final
class Param(NamedTuple):
    """A request parameter that decides whether a cached prefix may be used, without being text of it."""

    name: str
    value: Any
    level: Level


@final
class Prompt(NamedTuple):
    """A request as the provider's cache sees it.

    `complete` is False where the server holds an earlier part (`state` then identifies that part, in the process
    only). `mode` says how caching is asked for: `automatic` (the provider caches by itself), `implicit` (it places
    a breakpoint by itself), `explicit` (only marked blocks) or `none` (on request, which was not made). `lifetime` is
    the TTL that the whole request asks for. `prewarm` marks a call made only to fill the cache.
    """

    blocks: tuple[Block, ...]
    params: tuple[Param, ...] = ()
    complete: bool = True
    state: str | None = None
    mode: Literal["automatic", "implicit", "explicit", "none"] = "automatic"
    lifetime: str | None = None
    prewarm: bool = False


@final
class Facts(NamedTuple):
    """What one response, or one stream event, reported. Merging two: the later non-null value wins.

    `counts` holds the provider's own counters by their dotted wire names, unchecked. `verdict` is the provider's own
    word on the cache, `billed` the amount in USD that it says it charged. `ttl` is the lifetime of what it wrote.
    `content` marks an event that carried output, `terminal` one after which nothing more is to come, `failed` the
    provider's own error code.
    """

    model: str | None = None
    id: str | None = None
    finish: tuple[str, ...] = ()
    tier: str | None = None
    speed: str | None = None
    geo: str | None = None
    counts: Mapping[str, Any] = _EMPTY
    verdict: Mapping[str, Any] | None = None
    billed: float | None = None
    ttl: str | None = None
    content: bool = False
    terminal: bool = False
    failed: str | None = None
    batch: bool = False


@final
class Usage(NamedTuple):
    """Tokens in disjoint classes: `uncached + (read or 0) + (write or 0) == input`, all of them >= 0.

    `read` and `write` are None where the provider did not report them, which is not 0. `write_by_ttl` sums to
    `write`. `output` includes `reasoning`. `modalities` splits some class further where prices differ, by names
    such as `audio.input`, `audio.read`, `audio.output`, `image.input`; `tools` counts server tools by name.
    `issues` names what did not add up.
    """

    input: int
    uncached: int
    read: int | None
    write: int | None
    write_by_ttl: Mapping[str, int] = _EMPTY
    output: int | None = None
    reasoning: int | None = None
    modalities: Mapping[str, int] = _EMPTY
    tools: Mapping[str, int] = _EMPTY
    issues: tuple[str, ...] = ()


@final
class Cost(NamedTuple):
    """What a call cost, in USD. `amount` is None where it is not known, and `unknown` then says why.

    `parts` holds `input`, `cache_read`, `cache_write`, `output` and, where billed, `tools`; they sum to `amount`
    unless the provider itself reported the amount. `p_in`, `p_read` and `p_write` (by TTL) are marginal prices in USD
    per token. `date` is the day of the price.
    """

    amount: float | None
    parts: Mapping[str, float] = _EMPTY
    without_cache: float | None = None
    p_in: float | None = None
    p_read: float | None = None
    p_write: Mapping[str, float] = _EMPTY
    source: Literal["provider", "local"] = "local"
    date: str | None = None
    unknown: Unknown | None = None


@final
@dataclass(slots=True)
class Verdict:
    """How the cache did on one call, and why. Not changed once given out.

    `tokens` counts the reusable tokens that were not read, `waste` is what that cost too much in USD. `section`,
    `index` and `offset` (bytes) say where the prefix broke, `hint` what the text there looks like. `family` is the
    exported hash of the first relative seen. `confidence` lies in 0..1.
    """

    outcome: Outcome
    reason: str | None = None
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None
    tokens: int | None = None
    waste: float | None = None
    confidence: float | None = None
    source: Literal["local", "provider"] | None = None
    provider_reason: str | None = None
    family: str | None = None


@final
class Prefix(NamedTuple):
    """The exported shape of a prompt: hashes that read `p1:<16 hex>` or `k1:<16 hex>`, None where not exported."""

    hash: str | None
    tools_hash: str | None
    system_hash: str | None
    scope_hash: str | None
    blocks: int
    breakpoints: tuple[str, ...]
    complete: bool
    chain: tuple[str, ...] = ()
    chain_start: int | None = None


@final
class NamedCache(NamedTuple):
    """A cache that the application made and named, as the provider describes it; times in epoch seconds.

    `expire_time` is the provider's own wording of `expires`.
    """

    name: str | None = None
    model: str | None = None
    tokens: int | None = None
    created: float | None = None
    expires: float | None = None
    expire_time: str | None = None


@final
class Site(NamedTuple):
    """The application's own line that made the call."""

    function: str
    file: str
    line: int


@final
class Call(NamedTuple):
    """Everything that is known of one call, as attributes and metrics read it.

    `first_chunk` and `duration` are in seconds from the start; `retries` counts resends; `error` is the
    exception's type name; `ambient` holds attributes of the user's choice.
    """

    request: Request
    facts: Facts
    verdict: Verdict
    prompt: Prompt | None = None
    prefix: Prefix | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    site: Site | None = None
    error: str | None = None
    retries: int | None = None
    first_chunk: float | None = None
    duration: float = 0.0
    ambient: Mapping[str, str | bool | int | float] = _EMPTY
