"""chain x usage x memory x rules -> Verdict. What this process knows of a call's prefix, from `open` to `close`.

The rules stand in docs/specs/diagnosis.md. A verdict needs the usage to show a miss and the structure to explain it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from promptcache.diagnose.compare import Difference
from promptcache.diagnose.family import closest, count, place
from promptcache.diagnose.judge import Case, Finding, Relative, find, left, waste
from promptcache.diagnose.minima import Minima
from promptcache.diagnose.recall import grown, relatives, rivals
from promptcache.diagnose.theirs import agreed, provider_reason
from promptcache.diagnose.writes import Unread, Writes, surcharge
from promptcache.grain import Deep
from promptcache.memory import Memory, Node, Scope, Trace
from promptcache.model import Cost, Facts, Level, Outcome, Prefix, Prompt, Request, Usage, Verdict
from promptcache.prefix import Chain, Exporter, Hasher
from promptcache.rules import Rule, lifetime, rule
from promptcache.settings import Settings

__all__ = ["Diagnosis", "Sighting"]

_MINUTE: Final = 60.0
_ASKED_IN_VAIN: Final = 4
"""A request for caching that wrote nothing was too short, up to so many times the documented minimum."""

_CLEARLY: Final = 0.5
"""Below this part of the documented minimum a prompt is taken to be too short without further evidence."""


@final
@dataclass(slots=True, eq=False)
class Sighting:
    """One call between `open` and `close`. Everything but `prefix` is for `Diagnosis` alone."""

    request: Request
    prompt: Prompt | None
    prefix: Prefix | None = None
    chain: Chain | None = None
    trace: Trace | None = None
    number: int = 0
    new: Sequence[Node] = ()
    deep: Iterable[tuple[int, Deep]] = ()
    relatives: Sequence[Relative] = ()
    rivals: Sequence[tuple[Trace, int]] = ()
    elsewhere: Trace | None = None


@final
class Diagnosis:
    """Opens and closes calls. Thread-safe and fork-safe; the only clock are the calls' own times.

    `unread` is told of writes that expired without having been read.
    """

    def __init__(
        self,
        settings: Settings,
        hasher: Hasher | None = None,
        memory: Memory | None = None,
        unread: Callable[[Unread], None] | None = None,
    ) -> None:
        self.memory = memory or Memory(settings.memory_nodes, settings.memory_calls)
        self._hasher = hasher or Hasher()
        self._exporter = Exporter(settings.hash_key, settings.hashes)
        self._minima = Minima()
        self._unread, self._writes = unread, Writes(settings.memory_calls)
        self.memory.on_fork = self._writes.clear

    def open(self, request: Request, prompt: Prompt | None) -> Sighting:
        """Hash the prompt, look for its relatives and register the call as running."""
        if prompt is None:
            return Sighting(request, None)
        cache = _cache(request)
        root = hash((cache, prompt.state)) if prompt.state else cache
        chain = self._hasher.chain(prompt, root)
        prefix = self._exporter.export(prompt, chain, request.model)
        blocks, memory = prompt.blocks, self.memory
        with memory:
            trace = self._trace(request, prompt, chain, root)
            trace.family = prefix.hash
            sighting = Sighting(request, prompt, prefix, chain, trace)
            known = memory.known(chain.links)
            sighting.new, fine = grown(memory, chain, blocks, known, root)
            sighting.deep = fine.items()
            if memory.pending:
                sighting.rivals = rivals(memory, trace)
            sighting.relatives = self._parent(prompt.state, cache) or relatives(
                memory, trace, known, sighting.new, fine, blocks
            )
            if not known and prompt.state is None:
                sighting.elsewhere = self._elsewhere(request, trace, chain)
            sighting.number = memory.start(trace)
        return sighting

    def _trace(self, request: Request, prompt: Prompt, chain: Chain, root: int) -> Trace:
        links = chain.links
        leaf, scope = links[-1] if links else root, self._scope(request, prompt, chain)
        return Trace(
            root, scope, leaf, len(links), chain.static, request.started, links, chain.marks
        )

    def _scope(self, request: Request, prompt: Prompt, chain: Chain) -> Scope:
        """The one object for this scope; its parts are hashed when it is new."""
        scopes, key = self.memory.scopes, (request.model, chain.params)
        if (known := scopes.get(key)) is None:
            own = self._hasher.own
            params: tuple[tuple[str, int, Level], ...] = tuple(
                (p.name, own(p.value), p.level) for p in prompt.params
            )
            known = scopes[key] = Scope(request.model, params)
        return known

    def _parent(self, state: str | None, cache: int) -> list[Relative]:
        """The call that left the state that the server holds, where this process made it."""
        number = self.memory.named.get((cache, state)) if state else None
        trace = self.memory.traces.get(number) if number is not None else None
        return [Relative(trace, Difference("extends", 0), trace.input, 0)] if trace else []

    def _elsewhere(self, request: Request, trace: Trace, chain: Chain) -> Trace | None:
        """A call of the same conversation to another cache."""
        if trace.depth <= trace.static:
            return None
        number = self.memory.named.get((request.wire, chain.own[: trace.static + 1]))
        other = self.memory.traces.get(number) if number is not None else None
        return other if other is not None and other.root != trace.root else None

    def close(
        self,
        sighting: Sighting,
        *,
        facts: Facts,
        usage: Usage | None,
        cost: Cost | None,
        failed: bool,
        at: float,
    ) -> Verdict:
        """The verdict of a call that ended at `at` (epoch seconds), learned from for later ones. Call it once."""
        trace, prompt = sighting.trace, sighting.prompt
        if trace is None or prompt is None:
            return Verdict(
                _plain_outcome(usage, prompt, failed) or ("hit" if usage and usage.read else "cold")
            )
        with self.memory as memory:
            memory.pending.pop(sighting.number, None)
            known = rule(sighting.request.provider, sighting.request.model)
            trace.at, trace.served = at, facts.model
            finding = None
            if usage is not None:
                known = self._minima.observed(sighting.request, known, usage)
                finding = self._find(sighting, trace, prompt, usage, known)
                self._settle(sighting, trace, prompt, usage, known, facts, finding)
            trace.links = ()
        verdict = self._verdict(sighting, trace, usage, known, failed, finding)
        verdict = _priced(verdict, finding, usage, cost, facts)
        if usage is not None and self._unread is not None:
            for unread in self._booked(
                sighting, trace, usage, surcharge(usage, cost, verdict.tokens or 0), known
            ):
                self._unread(unread)
        return verdict

    def park(self, sighting: Sighting) -> None:
        """The call's usage may come later, or never: until then it is nobody's rival."""
        with self.memory as memory:
            memory.pending.pop(sighting.number, None)

    def _booked(
        self, sighting: Sighting, trace: Trace, usage: Usage, extra: float, known: Rule
    ) -> list[Unread]:
        """What expired unread. The less sure a lapse is, the longer we wait."""
        request, due = sighting.request, trace.started + trace.ttl / known.lapse
        unread, kin = (
            Unread(request.provider, request.model, extra, due),
            [item.trace for item in sighting.relatives],
        )
        with self.memory:
            return self._writes.book(trace, unread, kin, usage.read or 0)

    def _find(
        self, sighting: Sighting, trace: Trace, prompt: Prompt, usage: Usage, known: Rule
    ) -> Finding | None:
        """What was missed and why; with the lock held."""
        chain, before = sighting.chain, trace.depth - len(sighting.new)
        racing: list[Relative] = []
        for other, shared in sighting.rivals:
            whole = [node.end for node in sighting.new] or [1]
            part = whole[shared - before - 1] / max(whole[-1], 1) if shared > before else 1.0
            racing.append(
                Relative(other, Difference("branch", shared), round(part * usage.input), 0)
            )
        messages = trace.depth - max(before, trace.static)
        implicit = known.writes and prompt.mode in ("automatic", "implicit")
        busy = self._busy(trace, chain) if chain and known.busy else 0
        least = self._minima.believed(sighting.request, known)
        case = Case(
            trace, known, usage, implicit, least, sighting.relatives, racing, busy, messages
        )
        return find(case) or _moved(sighting, usage, known)

    def _busy(self, trace: Trace, chain: Chain) -> int:
        """How many requests with this static prefix and scope the present minute has seen."""
        key = hash((chain.links[trace.static - 1] if trace.static else trace.root, id(trace.scope)))
        minute, count = self.memory.rates.get(key) or (0, 0)
        now = int(trace.started // _MINUTE)
        self.memory.rates[key] = found = (now, count + 1 if minute == now else 1)
        return found[1]

    def _settle(
        self,
        sighting: Sighting,
        trace: Trace,
        prompt: Prompt,
        usage: Usage,
        known: Rule,
        facts: Facts,
        finding: Finding | None,
    ) -> None:
        """Learn from the call; with the lock held."""
        memory, chain = self.memory, sighting.chain
        trace.input, trace.read, trace.write = usage.input, usage.read or 0, usage.write
        asked = (
            min([lifetime(known, ttl) for ttl in usage.write_by_ttl])
            if usage.write_by_ttl
            else None
        )
        marked = prompt.blocks[trace.marks[-1] - 1].mark if trace.marks else None
        trace.ttl = asked or lifetime(known, marked or prompt.lifetime)
        relative = closest(sighting.relatives, finding)
        if relative is not None:
            before = relative.trace
            trace.family = before.family
            trace.pinned = (
                relative.difference.kind == "extends"
                and bool(before.write)
                and trace.read == before.read > 0
            )
            count(trace, relative, place(finding, relative))
        if sighting.new:
            sighting.new[-1].tokens = usage.input
        memory.learn(sighting.number, trace, sighting.new, sighting.deep)
        cache, wire = _cache(sighting.request), sighting.request.wire
        for name in (facts.id, prompt.state):
            if name:
                memory.named[cache, name] = sighting.number
        if chain and trace.depth > trace.static:
            memory.named[wire, chain.own[: trace.static + 1]] = sighting.number

    def _verdict(
        self,
        sighting: Sighting,
        trace: Trace,
        usage: Usage | None,
        known: Rule,
        failed: bool,
        finding: Finding | None,
    ) -> Verdict:
        prompt = sighting.prompt
        plain = _plain_outcome(usage, prompt, failed)
        if plain is not None or usage is None or prompt is None:
            many = plain == "error" and len(trace.marks) > known.marks
            return Verdict(
                plain or "error", "too_many_breakpoints" if many else None, family=trace.family
            )
        again = not usage.read and any(
            _again(relative, trace, usage) for relative in sighting.relatives
        )
        outcome, reason = _outcome(prompt, usage, known, finding, again)
        if finding is None or outcome in ("not_requested", "below_minimum"):
            sure = {"not_requested": 0.95, "below_minimum": 0.8, "cold": 0.5}.get(outcome)
            return Verdict(
                outcome,
                reason,
                confidence=sure,
                source="local" if reason else None,
                family=trace.family,
            )
        at = finding.place or Difference("extends", 0)
        return Verdict(
            outcome,
            reason,
            at.section,
            at.index,
            at.offset,
            at.hint,
            finding.missed,
            confidence=finding.confidence,
            source="local",
            family=trace.family,
        )


def _cache(request: Request) -> int:
    """One cache, under one wire: what another wire says in other words would look like a change of content."""
    return hash((request.wire, request.provider, request.host, request.port, request.tenant))


def _plain_outcome(usage: Usage | None, prompt: Prompt | None, failed: bool) -> Outcome | None:
    """The outcomes that need no diagnosis."""
    if usage is None and failed:
        return "error"
    if usage is None or usage.read is None:
        return "unreported"
    return "prewarm" if prompt is not None and prompt.prewarm else None


def _again(relative: Relative, trace: Trace, usage: Usage) -> bool:
    """Whether most of this prompt was sent before, so recently that it would have been read if it could be."""
    return (
        2 * relative.shared >= usage.input
        and trace.started - relative.trace.started <= relative.trace.ttl
    )


def _outcome(
    prompt: Prompt, usage: Usage, known: Rule, finding: Finding | None, again: bool
) -> tuple[Outcome, str | None]:
    if usage.read:
        return ("partial", finding.reason) if finding else ("hit", None)
    if not usage.write:
        if prompt.mode == "none":
            return "not_requested", "caching_not_requested"
        refused = known.writes and usage.write == 0
        # Minima are lowered without notice, and a first call reads nothing anyway: near the minimum it proves nothing.
        sure = _ASKED_IN_VAIN if refused else 1.0 if again else _CLEARLY
        if usage.input < known.minimum * sure:
            return "below_minimum", "below_minimum"
    return ("miss", finding.reason) if finding else ("cold", "cold_start")


def _priced(
    verdict: Verdict, finding: Finding | None, usage: Usage | None, cost: Cost | None, facts: Facts
) -> Verdict:
    """The verdict with the waste, and with the provider's own word where it gave one."""
    if usage is not None and verdict.tokens:
        verdict = replace(verdict, waste=waste(usage, cost, verdict.tokens))
    theirs = provider_reason(facts.verdict)
    if theirs is None or verdict.outcome not in ("partial", "miss", "cold"):
        return verdict
    reason = agreed(theirs, verdict.reason)
    return replace(
        verdict, reason=reason, confidence=0.98, source="provider", provider_reason=theirs
    )


def _moved(sighting: Sighting, usage: Usage, known: Rule) -> Finding | None:
    """The conversation went on under another credential, host or provider."""
    other = sighting.elsewhere
    if other is None or usage.read or sighting.request.started - other.started > other.ttl:
        return None
    missed = min(left(other, known, known.minimum), usage.input)
    return (
        Finding("scope_changed", missed, 0.8, None, Difference("extends", 0, section="params"))
        if missed
        else None
    )
