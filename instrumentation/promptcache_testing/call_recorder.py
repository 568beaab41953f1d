"""Turn each request to a model into a recorded call: parse, emulate, diagnose."""

from __future__ import annotations

import time
from typing import Any, Final

from promptcache.common.coerce import as_mapping
from promptcache.common.safely import safely
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import CallSite, PrefixHashes, ResponseFacts, Usage, Verdict
from promptcache.prefix.hashing import ExportedPrefixHasher, InProcessHasher
from promptcache.prices.book import PriceBook
from promptcache.providers.response_facts import NO_FACTS, merge_facts
from promptcache.settings import Settings
from promptcache_emulator.engine import Emulator
from promptcache_emulator.request_record import RequestRecord
from promptcache_emulator.response import ProviderResponse
from promptcache_testing.ideal_cache import TOKENS_PER_BYTE
from promptcache_testing.llm_request import LLMRequest, read_llm_request
from promptcache_testing.recorded_call import RecordedCall
from promptcache_testing.second_run.static_prefix import PrefixDigester, StaticPrefix
from promptcache_testing.sent_request import SentRequest
from promptcache_testing.turns import BREAKS, TurnsCheck

_SECTIONS: Final[tuple[str, ...]] = ("tools", "system", "messages")


class CallRecorder:
    """The calls of one test, in their order. Not thread-safe: the traffic holds a lock."""

    def __init__(self, emulator: Emulator, digester: PrefixDigester | None = None) -> None:
        self.calls: list[RecordedCall] = []
        self._emulator, self._digester = emulator, digester
        self._turns = TurnsCheck()
        self._rules = Diagnosis(Settings())
        self._prices = PriceBook()
        self._hasher = InProcessHasher()
        self._prefix_hasher = ExportedPrefixHasher()

    def record(
        self,
        sent: SentRequest,
        response: ProviderResponse,
        record: RequestRecord | None,
        call_site: CallSite | None,
        *,
        is_answered: bool,
    ) -> RecordedCall | None:
        """Record a request that the emulator answered; None if it calls no model."""
        call = safely(read_llm_request, sent, self._hasher, self._emulator.clock())
        if call is None or record is None or response.status >= 400:
            return None
        recorded = RecordedCall(
            len(self.calls) + 1,
            call.request.provider,
            call.wire_format.name,
            call.request.model,
            call_site,
            is_answered,
        )
        self.calls.append(recorded)
        _copy_counts(recorded, record)
        facts = safely(_read_facts, call, response) or NO_FACTS
        safely(self._diagnose, recorded, call, record, facts)
        return recorded

    def _diagnose(
        self, recorded: RecordedCall, call: LLMRequest, record: RequestRecord, facts: ResponseFacts
    ) -> None:
        turn = self._turns.check_call(call, facts)
        recorded.turn, recorded.changed_key, recorded.is_first = turn
        if recorded.turn.reason in BREAKS:
            recorded.volatile_bytes = (recorded.turn.missed_tokens or 0) // TOKENS_PER_BYTE
        recorded.rule = self._diagnose_by_rules(call, record, facts)
        recorded.prefix = self._hash_prefix(call)
        recorded.static_prefix = self._digest_prefix(recorded, call)
        recorded.is_judged = True

    def _diagnose_by_rules(
        self, call: LLMRequest, record: RequestRecord, facts: ResponseFacts
    ) -> Verdict:
        """Return the verdict of production on the emulator's counts."""
        result = record.result
        writes = result.cache_write_by_ttl
        usage = Usage(
            result.input_tokens,
            result.uncached_tokens,
            result.cache_read_tokens,
            result.cache_write_tokens if writes else None,
            writes,
            record.output_tokens,
        )
        # Today's prices: those of the rules' day may be history.
        priced = call.request._replace(started_at=time.time())
        cost = self._prices.compute_cost(priced, facts, usage)
        pending = self._rules.start(call.request, call.prompt)
        return self._rules.finish(
            pending,
            facts=facts,
            usage=usage,
            cost=cost,
            has_failed=False,
            ended_at=call.request.started_at,
        )

    def _digest_prefix(self, recorded: RecordedCall, call: LLMRequest) -> StaticPrefix | None:
        if self._digester is None or call.prompt is None:
            return None
        site = recorded.call_site
        place = (site.file, site.line) if site else (None, None)
        model = call.request.model
        return self._digester.digest_prompt(call.prompt, model, recorded.number, *place)

    def _hash_prefix(self, call: LLMRequest) -> PrefixHashes | None:
        if call.prompt is None:
            return None
        digests = self._hasher.digest_prompt_blocks(call.prompt)
        return self._prefix_hasher.compute_prefix_hashes(call.prompt, digests, call.request.model)


def _copy_counts(recorded: RecordedCall, record: RequestRecord) -> None:
    result = record.result
    recorded.input_tokens = result.input_tokens
    recorded.read_tokens = result.cache_read_tokens
    recorded.write_tokens = result.cache_write_tokens
    recorded.output_tokens = record.output_tokens
    tokens: dict[str, int] = dict.fromkeys(_SECTIONS, 0)
    for block in record.plan.prompt.blocks:
        tokens[_SECTIONS[block.level]] += block.token_count
    recorded.section_tokens = tokens


def _read_facts(call: LLMRequest, response: ProviderResponse) -> ResponseFacts:
    """Return what the emulator's response reports, its id above all."""
    events: list[Any] = [response.body] if response.events is None else response.events
    facts = NO_FACTS
    for event in events:
        found = call.wire_format.parse_event(as_mapping(event))
        facts = facts if found is None else merge_facts(facts, found)
    return facts
