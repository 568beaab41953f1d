"""What all calls share: settings, tracer, instruments, memory, prices."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from opentelemetry.trace import Tracer

from promptcache.generations import Generations
from promptcache.meters import Meters
from promptcache.model import Prompt, Request
from promptcache.prefix import Exporter, Hasher
from promptcache.providers.hosts import provider
from promptcache.providers.wire import JSON, Wire
from promptcache.settings import Settings
from promptcache.spans import Claims
from promptcache.storage import Storage

if TYPE_CHECKING:
    from promptcache.diagnose import Diagnosis, Sighting
    from promptcache.prices import Book


class Swept(Protocol):
    """A call whose end had to wait."""

    def end(self) -> None: ...


class Asked(NamedTuple):
    """A call as it is known before its body is: enough for a sampler to decide on.

    `fetch` marks a call that returns an earlier response again, `results` is the address of a batch's results where it
    returns those; `defer` says that the SDK is about to open a span of its own for the call.
    """

    wire: Wire
    provider: str
    model: str | None
    host: str | None
    port: int | None
    stream: bool
    fetch: bool = False
    results: str | None = None
    defer: bool = False

    def request(self, body: JSON, tenant: bytes, started: float) -> Request:
        """The request of this call, once its body and the digest of its credential are known."""
        return Request(
            self.wire.name,
            self.provider,
            self.wire.operation,
            self.model,
            self.host,
            self.port,
            self.stream,
            body,
            tenant,
            started,
        )


class Observer:
    """What all calls share: tracer, instruments, memory, prices. Thread-safe; holds no text of any prompt."""

    def __init__(
        self,
        settings: Settings,
        tracer: Tracer,
        meters: Meters,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.tracer, self.meters, self.clock = settings, tracer, meters, clock
        self.hasher = Hasher()
        self.unfinished = Unfinished()
        self.batches = Batches()
        self.conversations: Generations[bytes, str] = Generations(4096)
        self.dropped: deque[Swept] = deque()
        self.claims = Claims()
        self._diagnosis: dict[None, Diagnosis] = {}
        self._book: Book | None = None
        self.exporter = Exporter(settings.hash_key, settings.hashes, remember=64)
        self.storage = Storage(self._rent, clock)
        meters.rent(self.storage.accrued)

    @property
    def diagnosis(self) -> Diagnosis:
        """Memory and judgement, loaded with the first call: a start costs next to nothing."""
        return self._diagnosis.get(None) or self._diagnose()

    def _diagnose(self) -> Diagnosis:
        from promptcache.diagnose import Diagnosis

        # Two first calls may be here at once and get the same one; a lock could be held where the process forks.
        return self._diagnosis.setdefault(
            None, Diagnosis(self.settings, self.hasher, unread=self.meters.unread)
        )

    @property
    def book(self) -> Book:
        """The prices, loaded when the first call needs them."""
        if self._book is None:
            from promptcache.prices import Book

            self._book = Book.load(self.settings.prices)
        return self._book

    def _rent(
        self, model: str, tokens: int, seconds: float, at: float, provider: str
    ) -> float | None:
        return self.book.storage(model, tokens, seconds, at, provider)

    def sweep(self) -> None:
        """Ends the calls whose streams were garbage-collected where nothing could be ended."""
        while self.dropped:
            self.dropped.popleft().end()

    def provider(self, host: str | None, default: str, *, sure: bool = False) -> str:
        """Whose models `host` serves; `default` is the client's word, which only the user overrides if `sure`."""
        return provider(host, default, self.settings.providers, sure=sure)


Waiting: TypeAlias = "tuple[Request, Prompt | None, Sighting]"


class Unfinished:
    """Calls whose response will be fetched later (background, resumed streams), by provider and response id.

    The only place that holds a prompt longer than its call, hence few.
    """

    LIMIT: Final = 64

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], Waiting] = {}

    def keep(self, provider: str, response: str, waiting: Waiting) -> None:
        while len(self._waiting) >= self.LIMIT:
            self._waiting.pop(next(iter(self._waiting), ("", "")), None)
        self._waiting[provider, response] = waiting

    def take(self, provider: str, response: str) -> Waiting | None:
        return self._waiting.pop((provider, response), None)


class Batches:
    """Which results of batches were counted, as hashes, for there are many.

    Without a lock: whoever reads one file in two threads at once may count a result twice.
    """

    LIMIT: Final = 1 << 18
    """The last half at least are held, more than Anthropic's largest batch has (100,000); 21 MB when full."""

    def __init__(self) -> None:
        self._counted: Generations[int, bool] = Generations(self.LIMIT)

    def first_time(self, provider: str, address: str, result: str) -> bool:
        key = hash((provider, address, result))
        new = key not in self._counted
        self._counted[key] = True
        return new
