"""The fixture `prompt_cache`."""

from __future__ import annotations

from collections.abc import Iterable

from promptcache_testing.answers import Answer
from promptcache_testing.checks import check_bounds, check_turns
from promptcache_testing.errors import CacheRegressionError
from promptcache_testing.recorded_call import RecordedCall, hit_rate
from promptcache_testing.traffic import Traffic


class PromptCacheFixture:
    """Every SDK answers from an emulator in this process, and the cache is checked.

    No request leaves the machine. The emulator has a clock of its own that only `wait` moves.
    At the end of the test the turns are checked, whether `check` was called or not. In the second
    run of `--promptcache-twice` nothing is checked: the first process compares.
    """

    def __init__(self, traffic: Traffic, min_calls: int = 2, *, fails_tests: bool = True) -> None:
        self._traffic, self._min_calls, self._fails_tests = traffic, min_calls, fails_tests

    def wait(self, *, minutes: float = 0.0, seconds: float = 0.0) -> None:
        """Move the emulator's clock, so that cache entries may expire. Nobody waits."""
        self._traffic.clock.advance(minutes * 60 + seconds)

    def answers(self, answers: Iterable[Answer]) -> None:
        """Say what the next requests are answered, in order; one more request fails the test.

        An answer is a `str`, a `ToolCall(name, args)`, a list of tool calls that run in parallel,
        an HTTP status, an exception, or a function of the request that returns one of them.
        """
        self._traffic.answers.set_answers(answers)

    def allow_hosts(self, *hosts: str) -> None:
        """Let requests to these hosts and their subdomains leave the machine."""
        self._traffic.allowed_hosts.update(host.lower() for host in hosts)

    @property
    def calls(self) -> tuple[RecordedCall, ...]:
        """The calls to models so far, in their order, without their text."""
        return tuple(self._traffic.recorder.calls)

    @property
    def hit_rate(self) -> float | None:
        """The share of input tokens that was read from the cache (0 to 1).

        The first call of each prefix does not count. None if no call counts.
        """
        return hit_rate(self._traffic.recorder.calls)

    def check(self, *, hit_rate: float | None = None, read_tokens: int | None = None) -> None:
        """Check all calls so far: the turns, and the bounds that are given.

        `hit_rate` is the lowest share (0 to 1), `read_tokens` the lowest sum of tokens read from
        the cache, both under the emulator's rules. Raise CacheRegressionError.
        """
        self.check_turns()
        if not self._fails_tests:
            return
        check_bounds(self._traffic.recorder.calls, hit_rate, read_tokens)

    def check_turns(self) -> None:
        """Check that the requests of one conversation extend each other.

        Raise CacheRegressionError.
        """
        if not self._fails_tests:
            return
        if self._traffic.failures:
            raise CacheRegressionError("\n".join(self._traffic.failures))
        check_turns(self._traffic.recorder.calls, self._min_calls)
