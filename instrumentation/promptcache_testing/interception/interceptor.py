"""What the patches of every HTTP library ask: who answers this request, and who sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from promptcache.model import CallSite
from promptcache_emulator.response import ProviderResponse
from promptcache_testing.errors import BlockedRequestError
from promptcache_testing.sent_request import SentRequest


class Interceptor(Protocol):
    """The side of a test that requests arrive at."""

    def takes(self, sent: SentRequest) -> bool:
        """Return whether we answer this request; False lets it pass.

        Raise BlockedRequestError if it must not leave the machine. The body may be missing.
        """
        ...

    def locate_call(self) -> CallSite | None:
        """Return the line of the application that is on this thread's stack."""
        ...

    def answer(
        self, key: object, sent: SentRequest, call_site: CallSite | None = None
    ) -> ProviderResponse:
        """Answer a request that `takes` accepted. `key` is the library's own request object.

        `call_site` is given where the answer is made in another task than the call.

        Raise what the test's answers raise.
        """
        ...

    def observe(
        self, key: object, read_request: Callable[[], SentRequest | None]
    ) -> AbstractContextManager[None]:
        """Record the request with which somebody else answers inside this context, if anybody."""
        ...

    def check_host(self, host: str) -> None:
        """Raise BlockedRequestError if no connection to this host may be opened."""
        ...


class InterceptorSwitch:
    """Hand everything to `target`. Without a target every request passes, and nobody sees it."""

    def __init__(self, target: Interceptor | None) -> None:
        self.target = target

    def takes(self, sent: SentRequest) -> bool:
        return self.target is not None and self.target.takes(sent)

    def locate_call(self) -> CallSite | None:
        return self.target.locate_call() if self.target is not None else None

    def answer(
        self, key: object, sent: SentRequest, call_site: CallSite | None = None
    ) -> ProviderResponse:
        if self.target is None:
            raise BlockedRequestError(f"the test that would answer is over: {sent.name}")
        return self.target.answer(key, sent, call_site)

    def observe(
        self, key: object, read_request: Callable[[], SentRequest | None]
    ) -> AbstractContextManager[None]:
        return nullcontext() if self.target is None else self.target.observe(key, read_request)

    def check_host(self, host: str) -> None:
        if self.target is not None:
            self.target.check_host(host)
