"""chain x usage x memory x rules -> Verdict. What this process knows of a call's prefix, from `start` to `finish`.

The rules stand in docs/specs/diagnosis.md. A verdict needs the usage to show a miss and the structure to explain it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from promptcache.diagnosis.candidates import find_concurrent_calls, find_related_calls, new_nodes
from promptcache.diagnosis.compare import Difference
from promptcache.diagnosis.explain import (
    Evidence,
    Explanation,
    RelatedCall,
    cached_tokens,
    compute_wasted_usd,
    explain_miss,
)
from promptcache.diagnosis.memory import CacheParams, Memory, Node, PastCall
from promptcache.diagnosis.minimums import ObservedMinimums
from promptcache.diagnosis.provider_diagnosis import merge_reasons, provider_reason
from promptcache.diagnosis.streaks import best_related_call, break_location, count_repeats
from promptcache.diagnosis.unread_writes import UnreadWrite, UnreadWriteLedger, write_surcharge
from promptcache.model import (
    Cost,
    InvalidationLevel,
    Outcome,
    ParsedPrompt,
    PrefixHashes,
    Request,
    ResponseFacts,
    Usage,
    Verdict,
)
from promptcache.prefix.fingerprint import DetailedFingerprint
from promptcache.prefix.hashing import HashChain, InProcessHasher, PrefixHasher
from promptcache.providers.cache_rules import CacheRule, cache_rule_for, safe_ttl_seconds
from promptcache.settings import Settings

__all__ = ["Diagnosis", "PendingCall"]

_MINUTE_SECONDS: Final = 60.0
_REFUSED_WRITE_FACTOR: Final = 4
"""A request for caching that wrote nothing was too short, up to so many times the documented minimum."""

_CLEARLY_TOO_SHORT: Final = 0.5
"""Below this part of the documented minimum a prompt is taken to be too short without further evidence."""


@final
@dataclass(slots=True, eq=False)
class PendingCall:
    """One call between `start` and `finish`. Everything but `prefix` is for `Diagnosis` alone."""

    request: Request
    prompt: ParsedPrompt | None
    prefix: PrefixHashes | None = None
    chain: HashChain | None = None
    call: PastCall | None = None
    number: int = 0
    new_nodes: Sequence[Node] = ()
    detailed_fingerprints: Iterable[tuple[int, DetailedFingerprint]] = ()
    related_calls: Sequence[RelatedCall] = ()
    concurrent_calls: Sequence[tuple[PastCall, int]] = ()
    call_in_other_cache: PastCall | None = None


@final
class Diagnosis:
    """Opens and closes calls. Thread-safe and fork-safe; the only clock are the calls' own times.

    `on_unread_write` is told of writes that expired without having been read.
    """

    def __init__(
        self,
        settings: Settings,
        hasher: InProcessHasher | None = None,
        memory: Memory | None = None,
        on_unread_write: Callable[[UnreadWrite], None] | None = None,
    ) -> None:
        self.memory = memory or Memory(settings.memory_nodes, settings.memory_calls)
        self._hasher = hasher or InProcessHasher()
        self._prefix_hasher = PrefixHasher(settings.hash_key, settings.hashes)
        self._minimums = ObservedMinimums()
        self._on_unread_write, self._unread_writes = (
            on_unread_write,
            UnreadWriteLedger(settings.memory_calls),
        )
        self.memory.on_fork = self._unread_writes.clear

    def start(self, request: Request, prompt: ParsedPrompt | None) -> PendingCall:
        """Hash the prompt, look for its relatives and register the call as running."""
        if prompt is None:
            return PendingCall(request, None)
        cache = _cache_id(request)
        root = hash((cache, prompt.server_state_id)) if prompt.server_state_id else cache
        chain = self._hasher.hash_prompt(prompt, root)
        prefix = self._prefix_hasher.hash_prefix(prompt, chain, request.model)
        blocks, memory = prompt.blocks, self.memory
        with memory:
            trace = self._new_call(request, prompt, chain, root)
            trace.family_hash = prefix.hash
            sighting = PendingCall(request, prompt, prefix, chain, trace)
            known = memory.known_depth(chain.prefix_digests)
            sighting.new_nodes, fine = new_nodes(memory, chain, blocks, known, root)
            sighting.detailed_fingerprints = fine.items()
            if memory.running_calls:
                sighting.concurrent_calls = find_concurrent_calls(memory, trace)
            sighting.related_calls = self._call_by_state(
                prompt.server_state_id, cache
            ) or find_related_calls(memory, trace, known, sighting.new_nodes, fine, blocks)
            if not known and prompt.server_state_id is None:
                sighting.call_in_other_cache = self._call_in_other_cache(request, trace, chain)
            sighting.number = memory.register_call(trace)
        return sighting

    def _new_call(
        self, request: Request, prompt: ParsedPrompt, chain: HashChain, root: int
    ) -> PastCall:
        links = chain.prefix_digests
        leaf, scope = links[-1] if links else root, self._intern_params(request, prompt, chain)
        return PastCall(
            root,
            scope,
            leaf,
            len(links),
            chain.static_depth,
            request.started_at,
            links,
            chain.breakpoint_depths,
        )

    def _intern_params(
        self, request: Request, prompt: ParsedPrompt, chain: HashChain
    ) -> CacheParams:
        """The one object for this scope; its parts are hashed when it is new."""
        scopes, key = self.memory.interned_params, (request.model, chain.params_digest)
        if (known := scopes.get(key)) is None:
            own = self._hasher.hash_data
            params: tuple[tuple[str, int, InvalidationLevel], ...] = tuple(
                (p.name, own(p.value), p.invalidation_level) for p in prompt.params
            )
            known = scopes[key] = CacheParams(request.model, params)
        return known

    def _call_by_state(self, state: str | None, cache: int) -> list[RelatedCall]:
        """The call that left the state that the server holds, where this process made it."""
        number = self.memory.call_by_id.get((cache, state)) if state else None
        trace = self.memory.calls.get(number) if number is not None else None
        return (
            [RelatedCall(trace, Difference("extends", 0), trace.input_tokens, 0)] if trace else []
        )

    def _call_in_other_cache(
        self, request: Request, trace: PastCall, chain: HashChain
    ) -> PastCall | None:
        """A call of the same conversation to another cache."""
        if trace.depth <= trace.static_depth:
            return None
        number = self.memory.call_by_id.get(
            (request.wire_format_name, chain.block_digests[: trace.static_depth + 1])
        )
        other = self.memory.calls.get(number) if number is not None else None
        return other if other is not None and other.root_digest != trace.root_digest else None

    def finish(
        self,
        sighting: PendingCall,
        *,
        facts: ResponseFacts,
        usage: Usage | None,
        cost: Cost | None,
        failed: bool,
        at: float,
    ) -> Verdict:
        """The verdict of a call that ended at `at` (epoch seconds), learned from for later ones. Call it once."""
        trace, prompt = sighting.call, sighting.prompt
        if trace is None or prompt is None:
            return Verdict(
                _outcome_without_diagnosis(usage, prompt, failed)
                or ("hit" if usage and usage.cache_read_tokens else "cold")
            )
        with self.memory as memory:
            memory.running_calls.pop(sighting.number, None)
            known = cache_rule_for(sighting.request.provider, sighting.request.model)
            trace.ended_at, trace.response_model = at, facts.model
            finding = None
            if usage is not None:
                known = self._minimums.with_observed_minimum(sighting.request, known, usage)
                finding = self._explain(sighting, trace, prompt, usage, known)
                self._store_call(sighting, trace, prompt, usage, known, facts, finding)
            trace.prefix_digests = ()
        verdict = self._build_verdict(sighting, trace, usage, known, failed, finding)
        verdict = _add_waste_and_provider_reason(verdict, finding, usage, cost, facts)
        if usage is not None and self._on_unread_write is not None:
            for unread in self._record_write(
                sighting,
                trace,
                usage,
                write_surcharge(usage, cost, verdict.missed_tokens or 0),
                known,
            ):
                self._on_unread_write(unread)
        return verdict

    def suspend(self, sighting: PendingCall) -> None:
        """The call's usage may come later, or never: until then it is nobody's rival."""
        with self.memory as memory:
            memory.running_calls.pop(sighting.number, None)

    def _record_write(
        self, sighting: PendingCall, trace: PastCall, usage: Usage, extra: float, known: CacheRule
    ) -> list[UnreadWrite]:
        """What expired unread. The less sure a lapse is, the longer we wait."""
        request, due = (
            sighting.request,
            trace.started_at + trace.ttl_seconds / known.expiry_confidence,
        )
        unread, kin = (
            UnreadWrite(request.provider, request.model, extra, due),
            [item.past_call for item in sighting.related_calls],
        )
        with self.memory:
            return self._unread_writes.record(trace, unread, kin, usage.cache_read_tokens or 0)

    def _explain(
        self,
        sighting: PendingCall,
        trace: PastCall,
        prompt: ParsedPrompt,
        usage: Usage,
        known: CacheRule,
    ) -> Explanation | None:
        """What was missed and why; with the lock held."""
        chain, before = sighting.chain, trace.depth - len(sighting.new_nodes)
        racing: list[RelatedCall] = []
        for other, shared in sighting.concurrent_calls:
            whole = [node.end_offset for node in sighting.new_nodes] or [1]
            part = whole[shared - before - 1] / max(whole[-1], 1) if shared > before else 1.0
            racing.append(
                RelatedCall(
                    other, Difference("branch", shared), round(part * usage.input_tokens), 0
                )
            )
        messages = trace.depth - max(before, trace.static_depth)
        implicit = known.bills_writes and prompt.caching_mode in ("automatic", "implicit")
        busy = self._count_request(trace, chain) if chain and known.overflow_rpm else 0
        least = self._minimums.effective_minimum(sighting.request, known)
        case = Evidence(
            trace, known, usage, implicit, least, sighting.related_calls, racing, busy, messages
        )
        return explain_miss(case) or _scope_changed(sighting, usage, known)

    def _count_request(self, trace: PastCall, chain: HashChain) -> int:
        """How many requests with this static prefix and scope the present minute has seen."""
        key = hash(
            (
                chain.prefix_digests[trace.static_depth - 1]
                if trace.static_depth
                else trace.root_digest,
                id(trace.cache_params),
            )
        )
        minute, count = self.memory.calls_per_minute.get(key) or (0, 0)
        now = int(trace.started_at // _MINUTE_SECONDS)
        self.memory.calls_per_minute[key] = found = (now, count + 1 if minute == now else 1)
        return found[1]

    def _store_call(
        self,
        sighting: PendingCall,
        trace: PastCall,
        prompt: ParsedPrompt,
        usage: Usage,
        known: CacheRule,
        facts: ResponseFacts,
        finding: Explanation | None,
    ) -> None:
        """Learn from the call; with the lock held."""
        memory, chain = self.memory, sighting.chain
        trace.input_tokens, trace.cache_read_tokens, trace.cache_write_tokens = (
            usage.input_tokens,
            usage.cache_read_tokens or 0,
            usage.cache_write_tokens,
        )
        asked = (
            min([safe_ttl_seconds(known, ttl) for ttl in usage.cache_write_by_ttl])
            if usage.cache_write_by_ttl
            else None
        )
        marked = (
            prompt.blocks[trace.breakpoint_depths[-1] - 1].breakpoint_ttl
            if trace.breakpoint_depths
            else None
        )
        trace.ttl_seconds = asked or safe_ttl_seconds(known, marked or prompt.ttl)
        relative = best_related_call(sighting.related_calls, finding)
        if relative is not None:
            before = relative.past_call
            trace.family_hash = before.family_hash
            trace.is_read_stuck = (
                relative.difference.kind == "extends"
                and bool(before.cache_write_tokens)
                and trace.cache_read_tokens == before.cache_read_tokens > 0
            )
            count_repeats(trace, relative, break_location(finding, relative))
        if sighting.new_nodes:
            sighting.new_nodes[-1].end_tokens = usage.input_tokens
        memory.store_call(
            sighting.number, trace, sighting.new_nodes, sighting.detailed_fingerprints
        )
        cache, wire = _cache_id(sighting.request), sighting.request.wire_format_name
        for name in (facts.id, prompt.server_state_id):
            if name:
                memory.call_by_id[cache, name] = sighting.number
        if chain and trace.depth > trace.static_depth:
            memory.call_by_id[wire, chain.block_digests[: trace.static_depth + 1]] = sighting.number

    def _build_verdict(
        self,
        sighting: PendingCall,
        trace: PastCall,
        usage: Usage | None,
        known: CacheRule,
        failed: bool,
        finding: Explanation | None,
    ) -> Verdict:
        prompt = sighting.prompt
        plain = _outcome_without_diagnosis(usage, prompt, failed)
        if plain is not None or usage is None or prompt is None:
            many = plain == "error" and len(trace.breakpoint_depths) > known.max_breakpoints
            return Verdict(
                plain or "error",
                "too_many_breakpoints" if many else None,
                prefix_family=trace.family_hash,
            )
        again = not usage.cache_read_tokens and any(
            _was_sent_recently(relative, trace, usage) for relative in sighting.related_calls
        )
        outcome, reason = _choose_outcome(prompt, usage, known, finding, again)
        if finding is None or outcome in ("not_requested", "below_minimum"):
            sure = {"not_requested": 0.95, "below_minimum": 0.8, "cold": 0.5}.get(outcome)
            return Verdict(
                outcome,
                reason,
                confidence=sure,
                source="local" if reason else None,
                prefix_family=trace.family_hash,
            )
        at = finding.location or Difference("extends", 0)
        return Verdict(
            outcome,
            reason,
            at.section,
            at.index,
            at.offset,
            at.hint,
            finding.missed_tokens,
            confidence=finding.confidence,
            source="local",
            prefix_family=trace.family_hash,
        )


def _cache_id(request: Request) -> int:
    """One cache, under one wire: what another wire says in other words would look like a change of content."""
    return hash(
        (
            request.wire_format_name,
            request.provider,
            request.host,
            request.port,
            request.cache_scope,
        )
    )


def _outcome_without_diagnosis(
    usage: Usage | None, prompt: ParsedPrompt | None, failed: bool
) -> Outcome | None:
    """The outcomes that need no diagnosis."""
    if usage is None and failed:
        return "error"
    if usage is None or usage.cache_read_tokens is None:
        return "unreported"
    return "prewarm" if prompt is not None and prompt.is_prewarm else None


def _was_sent_recently(relative: RelatedCall, trace: PastCall, usage: Usage) -> bool:
    """Whether most of this prompt was sent before, so recently that it would have been read if it could be."""
    return (
        2 * relative.shared_tokens >= usage.input_tokens
        and trace.started_at - relative.past_call.started_at <= relative.past_call.ttl_seconds
    )


def _choose_outcome(
    prompt: ParsedPrompt, usage: Usage, known: CacheRule, finding: Explanation | None, again: bool
) -> tuple[Outcome, str | None]:
    if usage.cache_read_tokens:
        return ("partial", finding.reason) if finding else ("hit", None)
    if not usage.cache_write_tokens:
        if prompt.caching_mode == "none":
            return "not_requested", "caching_not_requested"
        refused = known.bills_writes and usage.cache_write_tokens == 0
        # Minima are lowered without notice, and a first call reads nothing anyway: near the minimum it proves nothing.
        sure = _REFUSED_WRITE_FACTOR if refused else 1.0 if again else _CLEARLY_TOO_SHORT
        if usage.input_tokens < known.minimum_tokens * sure:
            return "below_minimum", "below_minimum"
    return ("miss", finding.reason) if finding else ("cold", "cold_start")


def _add_waste_and_provider_reason(
    verdict: Verdict,
    finding: Explanation | None,
    usage: Usage | None,
    cost: Cost | None,
    facts: ResponseFacts,
) -> Verdict:
    """The verdict with the waste, and with the provider's own word where it gave one."""
    if usage is not None and verdict.missed_tokens:
        verdict = replace(
            verdict, wasted_usd=compute_wasted_usd(usage, cost, verdict.missed_tokens)
        )
    theirs = provider_reason(facts.provider_diagnostics)
    if theirs is None or verdict.outcome not in ("partial", "miss", "cold"):
        return verdict
    reason = merge_reasons(theirs, verdict.reason)
    return replace(
        verdict, reason=reason, confidence=0.98, source="provider", provider_reason=theirs
    )


def _scope_changed(sighting: PendingCall, usage: Usage, known: CacheRule) -> Explanation | None:
    """The conversation went on under another credential, host or provider."""
    other = sighting.call_in_other_cache
    if (
        other is None
        or usage.cache_read_tokens
        or sighting.request.started_at - other.started_at > other.ttl_seconds
    ):
        return None
    missed = min(cached_tokens(other, known, known.minimum_tokens), usage.input_tokens)
    return (
        Explanation("scope_changed", missed, 0.8, None, Difference("extends", 0, section="params"))
        if missed
        else None
    )
