"""What a test keeps of a call: digests, sizes, counts and verdicts, never text."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptcache.model import CallSite, PrefixHashes, Verdict
from promptcache_testing.second_run.static_prefix import StaticPrefix


@dataclass(slots=True)
class RecordedCall:
    """One call to a model. Token counts are the emulator's.

    `number` counts from 1 within the test. `section_tokens` maps tools, system and messages to
    tokens. `turn` is the verdict under an ideal cache, `rule` the one under the provider's rules.
    `changed_key` is the key of the wire in which a block of JSON changed. `volatile_bytes` counts
    the bytes of tools and system that a break takes out of the cache. `is_answered` is False if a
    mock or a server answered instead of the emulator. `is_first` is true for the first call of a
    prefix. `is_judged` is False if promptcache itself failed on the call.
    `static_prefix` is what a second process must send too; None unless there is one.
    `second_run_places` are the places at which it sent other bytes.
    """

    number: int
    provider: str
    wire_format_name: str
    model: str | None
    call_site: CallSite | None
    is_answered: bool
    input_tokens: int = 0
    read_tokens: int = 0
    write_tokens: int = 0
    output_tokens: int = 0
    section_tokens: dict[str, int] = field(default_factory=dict[str, int])
    prefix: PrefixHashes | None = None
    turn: Verdict = field(default_factory=lambda: Verdict("unreported"))
    rule: Verdict = field(default_factory=lambda: Verdict("unreported"))
    changed_key: str | None = None
    volatile_bytes: int = 0
    is_first: bool = True
    is_judged: bool = False
    static_prefix: StaticPrefix | None = None
    second_run_places: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """File, line and function of the call, as far as known."""
        site = self.call_site
        return f"{site.file}:{site.line}" if site else "an unknown line"


def hit_rate(calls: list[RecordedCall]) -> float | None:
    """Return which share of the input tokens was read from the cache.

    The first call of each prefix does not count: no cache can serve it. None if no call counts.
    """
    counted = [call for call in calls if not call.is_first]
    total = sum(call.input_tokens for call in counted)
    return sum(call.read_tokens for call in counted) / total if total else None
