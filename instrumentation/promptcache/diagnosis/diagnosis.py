"""Diagnose each call: compare its prompt with earlier calls, then explain the tokens that it
missed.

A verdict needs the usage to show a miss and the structure of the prompts to explain it. The rules
are specified in docs/specs/diagnosis.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

from promptcache.diagnosis.cache_params import CacheParams
from promptcache.diagnosis.caching import caching_mode_of, find_readable_depth, is_implicit
from promptcache.diagnosis.candidates import (
    build_nodes_of_new_blocks,
    find_concurrent_calls_sharing_prefix,
    find_related_calls,
)
from promptcache.diagnosis.compare import PromptDifference
from promptcache.diagnosis.evidence import Evidence, RelatedCall
from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.explanations import EXPLANATIONS_IF_CACHED, find_best_explanation
from promptcache.diagnosis.explanations.uncached import UNCACHED_REASONS
from promptcache.diagnosis.memory import PastCall, PastCallMemory
from promptcache.diagnosis.minimums import ObservedMinimums
from promptcache.diagnosis.pending_call import PendingCall, TrackedCall
from promptcache.diagnosis.prefix_tokens import estimate_prefix_tokens
from promptcache.diagnosis.recorded_links import LinkRecorder
from promptcache.diagnosis.streaks import (
    choose_continued_call,
    find_break_location,
    update_break_count,
)
from promptcache.diagnosis.unread_writes import (
    UnreadWrite,
    UnreadWriteTracker,
    compute_write_surcharge_usd,
)
from promptcache.diagnosis.verdicts import (
    build_verdict,
    build_verdict_from_usage,
    prefer_provider_reason,
)
from promptcache.model import (
    Cost,
    InvalidationLevel,
    ParsedPrompt,
    Request,
    ResponseFacts,
    Usage,
    Verdict,
)
from promptcache.prefix.examined_bytes import ExaminedBytes
from promptcache.prefix.hashing import ExportedPrefixHasher, InProcessHasher, PromptDigests
from promptcache.prefix.message_groups import MAX_SINGLE_BLOCKS, group_messages
from promptcache.providers.cache_rules import (
    CacheRule,
    cache_rule_for,
    requested_or_default_ttl_seconds,
)
from promptcache.settings import Settings

__all__ = ["Diagnosis", "PendingCall"]

_MINUTE_SECONDS: Final = 60.0
_MIN_CONVERSATION_BLOCKS: Final = 3
"""Two prompts belong to one conversation if they share this many messages: question, answer,
question."""
_MAX_CONTINUATION_BLOCKS: Final = 64
"""A call is found in another cache if this one added at most so many blocks."""


@final
class Diagnosis:
    """Start and finish the diagnosis of calls, and remember them.

    Thread-safe and fork-safe. It reads no clock: all times come from the calls. `on_unread_write`
    is called for each cache write that expired without a read. With a `link_recorder`, pending
    calls have links for the local table.
    """

    def __init__(
        self,
        settings: Settings,
        hasher: InProcessHasher | None = None,
        memory: PastCallMemory | None = None,
        on_unread_write: Callable[[UnreadWrite], None] | None = None,
        link_recorder: LinkRecorder | None = None,
    ) -> None:
        self.memory = memory or PastCallMemory(settings.memory_nodes, settings.memory_calls)
        self._hasher = hasher or InProcessHasher()
        self._prefix_hasher = ExportedPrefixHasher(settings.hash_key, settings.hashes)
        self._link_recorder = link_recorder
        self._minimums = ObservedMinimums()
        self._on_unread_write = on_unread_write
        self._unread_writes = UnreadWriteTracker(settings.memory_calls)
        self.memory.on_fork = self._unread_writes.clear

    def start(self, request: Request, prompt: ParsedPrompt | None) -> PendingCall:
        """Hash the prompt, find its related calls and register the call as running."""
        if prompt is None:
            return PendingCall(request)
        cache_id, state = _hash_cache_identity(request), prompt.server_state_id
        root = hash((cache_id, state)) if state else cache_id
        chain = self._hasher.digest_prompt_blocks(prompt, root)
        prefix = self._prefix_hasher.compute_prefix_hashes(prompt, chain, request.model)
        rule = cache_rule_for(request.provider, request.model)
        examined = ExaminedBytes()
        with self.memory as memory:
            known = memory.count_known_leading_blocks(chain.prefix_digests)
            if len(chain.block_digests) > MAX_SINGLE_BLOCKS:
                starts = memory.list_message_starts(chain.prefix_digests[:known])
                prompt, chain, known = group_messages(prompt, chain, known, starts)
                prefix = prefix._replace(is_oversized=True)
            call = self._build_past_call(request, prompt, chain, root, rule)
            call.family_hash = prefix.hash
            nodes, details = build_nodes_of_new_blocks(
                memory, chain, prompt.blocks, known, root, examined
            )
            concurrent = (
                find_concurrent_calls_sharing_prefix(memory, call) if memory.running_calls else ()
            )
            related = self._related_call_by_server_state(state, cache_id) if state else None
            if not related:
                related = find_related_calls(memory, call, known, nodes, details, prompt.blocks)
            other = None
            if not known and state is None and memory.has_calls_to_other_cache(root):
                other = self._find_same_conversation_in_other_cache(request, call, chain)
            number = memory.register_running_call(call)
            links = None
            if self._link_recorder is not None:
                links = self._link_recorder.describe(memory, request, prompt, chain, nodes)
        if examined.has_run_out:
            prefix = prefix._replace(is_oversized=True)
        tracked = TrackedCall(
            prompt, chain, cache_id, rule, call, number, nodes, details, related, concurrent, other
        )
        return PendingCall(request, prefix, tracked, links)

    def _build_past_call(
        self,
        request: Request,
        prompt: ParsedPrompt,
        chain: PromptDigests,
        root_digest: int,
        rule: CacheRule,
    ) -> PastCall:
        digests = chain.prefix_digests
        has_breakpoints = bool(chain.breakpoint_depths)
        mode = caching_mode_of(prompt, rule, has_breakpoints=has_breakpoints)
        return PastCall(
            root_digest,
            self._intern_params(request, prompt, chain),
            digests[-1] if digests else root_digest,
            len(digests),
            chain.static_depth,
            request.started_at,
            digests,
            chain.breakpoint_depths,
            is_implicit(rule, mode),
        )

    def _intern_params(
        self, request: Request, prompt: ParsedPrompt, chain: PromptDigests
    ) -> CacheParams:
        """Return the one object for these parameters. Their values are hashed only if they are
        new."""
        interned, key = self.memory.interned_params, (request.model, chain.params_digest)
        if (cache_params := interned.get(key)) is None:
            hash_data = self._hasher.hash_data
            params: tuple[tuple[str, int, InvalidationLevel], ...] = tuple(
                (p.name, hash_data(p.value), p.invalidation_level) for p in prompt.params
            )
            cache_params = interned[key] = CacheParams(request.model, params)
        return cache_params

    def _related_call_by_server_state(
        self, server_state_id: str, cache_id: int
    ) -> list[RelatedCall]:
        """Return the call that created the server's state, if this process made that call."""
        number = self.memory.call_number_by_id.get((cache_id, server_state_id))
        past_call = self.memory.calls.get(number) if number is not None else None
        if past_call is None:
            return []
        return [RelatedCall(past_call, PromptDifference("extends", 0), past_call.input_tokens)]

    def _find_same_conversation_in_other_cache(
        self, request: Request, call: PastCall, chain: PromptDigests
    ) -> PastCall | None:
        """Return a call to another cache that this call continues.

        It has a question, an answer and a further question: many users begin alike.
        """
        first = call.static_depth + _MIN_CONVERSATION_BLOCKS
        for depth in range(call.depth, max(first, call.depth - _MAX_CONTINUATION_BLOCKS) - 1, -1):
            number = self.memory.call_number_by_id.get(_conversation_id(request, chain, depth))
            other = self.memory.calls.get(number) if number is not None else None
            if other is not None and other.root_digest != call.root_digest:
                return other
        return None

    def finish(
        self,
        pending_call: PendingCall,
        *,
        facts: ResponseFacts,
        usage: Usage | None,
        cost: Cost | None,
        has_failed: bool,
        ended_at: float,
    ) -> Verdict:
        """Return the verdict of a call that ended at `ended_at` (epoch seconds), and remember the
        call.

        Call it once. `has_failed` says that the call raised or that the provider reported an error.
        """
        tracked, request = pending_call.tracked, pending_call.request
        if tracked is None:
            return build_verdict_from_usage(usage, has_failed)
        call, rule, explanation = tracked.call, tracked.rule, None
        expired: Sequence[UnreadWrite] = ()
        with self.memory as memory:
            memory.running_calls.pop(tracked.number, None)
            call.ended_at, call.response_model = ended_at, facts.model
            if usage is not None:
                rule = self._minimums.observe_and_lower_minimum(request, rule, usage)
                explanation = self._explain_and_store(request, tracked, rule, usage, facts)
            call.prefix_digests = ()
            verdict = build_verdict(tracked, rule, usage, cost, explanation, has_failed)
            if usage is not None and self._on_unread_write is not None:
                missed = verdict.missed_tokens or 0
                expired = self._track_unread_write(request, tracked, rule, usage, cost, missed)
        for unread in expired:
            if self._on_unread_write is not None:
                self._on_unread_write(unread)
        return prefer_provider_reason(verdict, facts)

    def unregister_running_call(self, pending_call: PendingCall) -> None:
        """Stop counting a call as running: its usage may come later, or never."""
        if pending_call.tracked is not None:
            with self.memory as memory:
                memory.running_calls.pop(pending_call.tracked.number, None)

    def _track_unread_write(
        self,
        request: Request,
        tracked: TrackedCall,
        rule: CacheRule,
        usage: Usage,
        cost: Cost | None,
        missed_tokens: int,
    ) -> Sequence[UnreadWrite]:
        """Record what the call wrote, and return the writes that expired without a read.

        The less sure an expiry is, the longer a write waits for a read. The caller holds the lock.
        """
        call, surcharge = tracked.call, 0.0
        if usage.cache_write_by_ttl:
            surcharge = compute_write_surcharge_usd(usage, cost, missed_tokens)
        if not surcharge and not len(self._unread_writes):
            return ()
        expired_at = call.started_at + call.ttl_seconds / rule.expiry_confidence
        unread = UnreadWrite(request.provider, request.model, surcharge, expired_at)
        related = [item.past_call for item in tracked.related_calls]
        return self._unread_writes.record_write_and_pop_expired(
            call, unread, related, usage.cache_read_tokens or 0
        )

    def _explain_and_store(
        self,
        request: Request,
        tracked: TrackedCall,
        rule: CacheRule,
        usage: Usage,
        facts: ResponseFacts,
    ) -> Explanation | None:
        """Explain what the call missed, then remember the call. The caller holds the lock."""
        requests = self._increment_requests_this_minute(tracked) if rule.overflow_rpm else 0
        explanation = of_break = None
        if not _has_read_what_was_left(tracked, rule, usage):
            evidence = self._collect_evidence(request, tracked, rule, usage, requests)
            explanation = of_break = find_best_explanation(evidence)
            # A call that is too short to be cached can still repeat a break of its family.
            if explanation is not None and explanation.reason in UNCACHED_REASONS:
                of_break = find_best_explanation(evidence, EXPLANATIONS_IF_CACHED)
        _copy_usage_and_ttl_to_call(tracked, rule, usage)
        _inherit_family_from_related_call(tracked, of_break)
        self._store_call(request, tracked, usage, facts)
        return explanation

    def _collect_evidence(
        self,
        request: Request,
        tracked: TrackedCall,
        rule: CacheRule,
        usage: Usage,
        requests_this_minute: int,
    ) -> Evidence:
        call = tracked.call
        known_depth = call.depth - len(tracked.new_nodes)
        return Evidence(
            call,
            tracked.prompt,
            rule,
            usage,
            self._minimums.assumed_minimum_tokens(request, rule),
            tracked.related_calls,
            _build_concurrent_calls(self.memory, tracked, rule, usage)
            if tracked.concurrent_calls
            else (),
            tracked.call_in_other_cache,
            requests_this_minute,
            call.depth - max(known_depth, call.static_depth),
        )

    def _increment_requests_this_minute(self, tracked: TrackedCall) -> int:
        """Return how many requests of this minute had this static prefix and these parameters."""
        call = tracked.call
        depth = call.static_depth
        static_digest = tracked.chain.prefix_digests[depth - 1] if depth else call.root_digest
        key = hash((static_digest, id(call.cache_params)))
        minute, count = self.memory.calls_per_minute.get(key) or (0, 0)
        now = int(call.started_at // _MINUTE_SECONDS)
        count = count + 1 if minute == now else 1
        self.memory.calls_per_minute[key] = (now, count)
        return count

    def _store_call(
        self, request: Request, tracked: TrackedCall, usage: Usage, facts: ResponseFacts
    ) -> None:
        memory, call, nodes = self.memory, tracked.call, tracked.new_nodes
        if nodes:
            nodes[-1].end_tokens = usage.input_tokens
        memory.store_call(tracked.number, call, nodes, tracked.block_details)
        for name in (facts.id, tracked.prompt.server_state_id):
            if name:
                memory.call_number_by_id[tracked.cache_id, name] = tracked.number
        if call.depth >= call.static_depth + _MIN_CONVERSATION_BLOCKS:
            conversation = _conversation_id(request, tracked.chain, call.depth)
            memory.call_number_by_id[conversation] = tracked.number


def _has_read_what_was_left(tracked: TrackedCall, rule: CacheRule, usage: Usage) -> bool:
    """Return whether the call read all that one earlier call left, which it extends.

    Then nothing was missed, and there is nothing to explain.
    """
    read, related = usage.cache_read_tokens, tracked.related_calls
    if not read or len(related) != 1 or tracked.concurrent_calls:
        return False
    if related[0].difference.kind != "extends":
        return False
    before = related[0].past_call
    left = max(before.input_tokens, before.cache_read_tokens + (before.cache_write_tokens or 0))
    return read + (rule.granularity if rule.granularity > 1 else 0) >= left


def _hash_cache_identity(request: Request) -> int:
    """Return a digest of the cache that a request uses, with its wire format.

    The wire format is included because another one has other JSON for the same text.
    """
    return hash(
        (
            request.wire_format_name,
            request.provider,
            request.host,
            request.port,
            request.cache_scope,
        )
    )


def _conversation_id(request: Request, chain: PromptDigests, depth: int) -> tuple[str, int]:
    """Return what identifies a conversation in every cache: its first `depth` blocks."""
    return request.wire_format_name, hash(chain.block_digests[:depth])


def _build_concurrent_calls(
    memory: PastCallMemory, tracked: TrackedCall, rule: CacheRule, usage: Usage
) -> list[RelatedCall]:
    """Return the concurrent calls of which the call could read, with the tokens to read."""
    call = tracked.call
    known = call.prefix_digests[: call.depth - len(tracked.new_nodes)]
    path = [*filter(None, map(memory.nodes.get, known)), *tracked.new_nodes]
    related: list[RelatedCall] = []
    for other, shared in tracked.concurrent_calls:
        depth = find_readable_depth(call, other, shared, rule)
        if depth and len(path) == call.depth:
            tokens = estimate_prefix_tokens(path, usage.input_tokens, depth)
            related.append(RelatedCall(other, PromptDifference("branch", depth), tokens))
    return related


def _copy_usage_and_ttl_to_call(tracked: TrackedCall, rule: CacheRule, usage: Usage) -> None:
    """Copy the reported tokens to the call, and set the TTL of what it left in the cache."""
    call, prompt = tracked.call, tracked.prompt
    call.input_tokens = usage.input_tokens
    call.cache_read_tokens = usage.cache_read_tokens or 0
    call.cache_write_tokens = usage.cache_write_tokens
    written_ttls = [requested_or_default_ttl_seconds(rule, ttl) for ttl in usage.cache_write_by_ttl]
    requested_ttl = prompt.ttl
    if call.breakpoint_depths:
        last_breakpoint = prompt.blocks[call.breakpoint_depths[-1] - 1]
        requested_ttl = last_breakpoint.breakpoint_ttl or prompt.ttl
    call.ttl_seconds = min(written_ttls, default=0.0) or requested_or_default_ttl_seconds(
        rule, requested_ttl
    )


def _inherit_family_from_related_call(
    tracked: TrackedCall, explanation: Explanation | None
) -> None:
    """Copy family and count of breaks from the related call that the call continues best."""
    related = choose_continued_call(tracked.related_calls, explanation)
    if related is None:
        return
    call, before = tracked.call, related.past_call
    call.family_hash = before.family_hash
    call.is_read_stuck = (
        related.difference.kind == "extends"
        and bool(before.cache_write_tokens)
        and call.cache_read_tokens == before.cache_read_tokens > 0
    )
    update_break_count(call, related, find_break_location(explanation, related))
