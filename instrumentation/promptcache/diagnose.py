"""chain x usage x memory x rules -> Verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .memory import Memory, Scope, Trace
from .model import Cost, Facts, Level, Outcome, Prefix, Prompt, Request, Usage, Verdict
from .prefix import Chain, Exporter, Hasher
from .settings import Settings


@final
@dataclass(slots=True, eq=False)
class Sighting:
    """One call between `open` and `close`."""

    request: Request
    prompt: Prompt | None
    prefix: Prefix | None = None
    chain: Chain | None = None
    trace: Trace | None = None
    number: int = 0
    relative: Trace | None = None


@final
class Diagnosis:
    """Opens and closes calls. Thread-safe and fork-safe."""

    def __init__(self, settings: Settings, hasher: Hasher | None = None, memory: Memory | None = None) -> None:
        self._hasher = hasher or Hasher()
        self.memory = memory or Memory(settings.memory_nodes, settings.memory_calls)
        self._exporter = Exporter(settings.hash_key, settings.hashes)

    def open(self, request: Request, prompt: Prompt | None) -> Sighting:
        """Hash the prompt, look for its relatives and register the call as running."""
        if prompt is None:
            return Sighting(request, None)
        root = hash((request.provider, request.host, request.port, request.tenant, prompt.state))
        chain = self._hasher.chain(prompt, root)
        prefix = self._exporter.export(prompt, chain, request.model)
        static = sum(block.section != "messages" for block in prompt.blocks)
        marks = tuple((depth, b.mark) for depth, b in enumerate(prompt.blocks, 1) if b.mark is not None)
        leaf = chain.links[-1] if chain.links else root
        with self.memory:
            scope = self._scope(request, prompt)
        trace = Trace(root, scope, leaf, len(chain.links), static, request.started, chain.links, marks)
        with self.memory as memory:
            known = memory.known(chain.links)
            relative = next(memory.at(chain.links[known - 1]), None) if known else None
            number = memory.start(trace)
        trace.family = relative.family if relative else prefix.hash
        return Sighting(request, prompt, prefix, chain, trace, number, relative)

    def _scope(self, request: Request, prompt: Prompt) -> Scope:
        params: tuple[tuple[str, int, Level], ...] = tuple(
            (p.name, self._hasher.own(p.value), p.level) for p in prompt.params
        )
        digest = hash((request.model, params))
        if (known := self.memory.scopes.get(digest)) is None:
            known = self.memory.scopes[digest] = Scope(digest, request.model, params)
        return known

    def close(
        self, sighting: Sighting, *, facts: Facts, usage: Usage | None, cost: Cost | None, failed: bool, at: float
    ) -> Verdict:
        """The verdict of a call that ended at `at`; call it once."""
        trace, prompt, chain = sighting.trace, sighting.prompt, sighting.chain
        outcome = self._outcome(sighting, usage, failed)
        if trace is None or prompt is None or chain is None:
            return Verdict(outcome)
        trace.at, trace.links = at, None
        with self.memory as memory:
            memory.pending.pop(sighting.number, None)
            if usage is not None:
                trace.input, trace.read, trace.write = usage.input, usage.read, usage.write
                memory.learn(sighting.number, trace, prompt.blocks, chain)
        return Verdict(outcome, family=trace.family)

    def _outcome(self, sighting: Sighting, usage: Usage | None, failed: bool) -> Outcome:
        if usage is None:
            return "error" if failed else "unreported"
        if usage.read is None:
            return "unreported"
        if sighting.prompt is not None and sighting.prompt.prewarm:
            return "prewarm"
        if usage.read:
            return "hit"
        return "miss" if sighting.relative else "cold"
