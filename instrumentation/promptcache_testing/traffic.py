"""The requests of one test: who answers them, and what is recorded of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from promptcache.common.safely import safely
from promptcache.model import CallSite
from promptcache.telemetry.call_site import find_call_site
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.replies import Reply, fixed_reply, unmet_keywords
from promptcache_emulator.request_record import RequestRecord
from promptcache_emulator.response import ProviderResponse
from promptcache_testing.answers import Answers, AnswersExhaustedError, SchemaAnswerError
from promptcache_testing.call_recorder import CallRecorder
from promptcache_testing.errors import BlockedRequestError
from promptcache_testing.hosts import is_allowed, is_local
from promptcache_testing.llm_request import (
    emulated_headers,
    emulated_path,
    find_llm_route,
    provider_of,
)
from promptcache_testing.placeholders import PLACEHOLDER
from promptcache_testing.profile_date import START
from promptcache_testing.second_run.static_prefix import PrefixDigester
from promptcache_testing.sent_request import SentRequest

_TOKEN_HOSTS: Final = frozenset(
    {"oauth2.googleapis.com", "metadata.google.internal", "169.254.169.254"}
)
"""Where google-auth asks for a token before it calls Vertex AI."""

_HOW_TO_ALLOW: Final = (
    "list hosts that may be reached in allow_hosts of the marker `promptcache`, or by "
    "`promptcache check --allow-host`"
)


@dataclass(slots=True)
class _Observation:
    """A request on its way through a client. `is_handled` is set if we answered it."""

    call_site: CallSite | None
    is_handled: bool = False


class Traffic:
    """Answer and record the requests of one test. Thread-safe.

    With `answers_everything`, requests to providers are answered by an emulator and all others but
    those to this machine are refused. Without it only requests with a placeholder key are answered,
    since no provider would accept it; all others pass, and those to models are recorded. `on_call`
    is called for each call to a model, before it is answered.
    """

    def __init__(
        self,
        *,
        answers_everything: bool,
        allowed_hosts: Collection[str] = (),
        digester: PrefixDigester | None = None,
        on_call: Callable[[], None] = lambda: None,
    ) -> None:
        self.clock = Clock(START)
        self.emulator = Emulator(self.clock)
        self.answers = Answers()
        self.recorder = CallRecorder(self.emulator, digester)
        self.failures: list[str] = []
        self.allowed_hosts: set[str] = {host.lower() for host in allowed_hosts}
        self._answers_everything, self._on_call = answers_everything, on_call
        self._observations: dict[int, _Observation] = {}
        self._lock = threading.RLock()

    # What the patches ask

    def takes(self, sent: SentRequest) -> bool:
        if is_local(sent.host) or is_allowed(sent.host, self.allowed_hosts):
            return False
        is_model = bool(provider_of(sent)) or find_llm_route(sent) is not None
        if not self._answers_everything:
            return is_model and PLACEHOLDER in repr((sent.headers, sent.query))
        if not is_model and sent.host not in _TOKEN_HOSTS:
            raise self._refuse(sent.name)
        return True

    def check_host(self, host: str) -> None:
        is_reachable = is_local(host) or is_allowed(host, self.allowed_hosts)
        if self._answers_everything and not is_reachable:
            raise self._refuse(f"a connection to {host}")

    def locate_call(self) -> CallSite | None:
        return safely(find_call_site)

    def answer(
        self, key: object, sent: SentRequest, call_site: CallSite | None = None
    ) -> ProviderResponse:
        if sent.host in _TOKEN_HOSTS:
            return _token_response()
        observation = self._observations.get(id(key))
        if observation is not None:
            observation.is_handled = True
            call_site = observation.call_site
        call_site = call_site or self.locate_call()
        path = emulated_path(sent)
        if path is None:
            raise self._refuse(sent.name, "the emulator has no such endpoint")
        with self._lock:
            is_call = find_llm_route(sent) is not None
            if is_call:
                self._on_call()
            reply = self._take_answer(sent) if is_call else None
            response, record = self._emulate(sent, path, reply)
            self.recorder.record(sent, response, record, call_site, is_answered=True)
        return response

    @contextmanager
    def observe(
        self, key: object, read_request: Callable[[], SentRequest | None]
    ) -> Generator[None]:
        outer = self._observations.get(id(key))
        if outer is not None:
            yield
            return
        observation = self._observations[id(key)] = _Observation(self.locate_call())
        try:
            yield
        finally:
            del self._observations[id(key)]
            if not observation.is_handled:
                safely(self._record_foreign_answer, read_request, observation.call_site)

    # The rest

    def _take_answer(self, sent: SentRequest) -> Reply | int | None:
        try:
            return self.answers.take_answer(sent)
        except AnswersExhaustedError as error:
            self.failures.append(str(error))
            raise

    def _emulate(
        self, sent: SentRequest, path: str, reply: Reply | int | None
    ) -> tuple[ProviderResponse, RequestRecord | None]:
        """Return the emulator's response, and its record if it ran the prompt."""
        headers: dict[str, str] = emulated_headers(sent)
        if isinstance(reply, int):
            headers["x-emulator-fault"] = str(reply)
        before = self._last_record()
        fixed = fixed_reply(reply if isinstance(reply, Reply) else None)
        with fixed, unmet_keywords() as unmet:
            response, _ = self.emulator.handle_request(
                sent.method, path, sent.body, headers, sent.query
            )
        self._refuse_unsupported_keywords(unmet)
        response.commit()
        after = self._last_record()
        return response, None if after is before else after

    def _refuse_unsupported_keywords(self, keywords: list[str]) -> None:
        """Fail the test if an invented answer may not fit its schema. Raise SchemaAnswerError."""
        if not keywords:
            return
        names = ", ".join(sorted(set(keywords)))
        self.failures.append(
            f"promptcache knows no value for {names} of a response schema or tool; give the "
            "answer by prompt_cache.answers([...])"
        )
        raise SchemaAnswerError(self.failures[-1])

    def _last_record(self) -> RequestRecord | None:
        records = self.emulator.records
        return records[-1] if records else None

    def _record_foreign_answer(
        self, read_request: Callable[[], SentRequest | None], call_site: CallSite | None
    ) -> None:
        """Record a request that a mock, a server or a provider answered."""
        sent = read_request()
        if sent is None or find_llm_route(sent) is None:
            return
        path = emulated_path(sent)
        if path is None:
            return
        with self._lock:
            self._on_call()
            response, record = self._emulate(sent, path, None)
            self.recorder.record(sent, response, record, call_site, is_answered=False)

    def _refuse(self, name: str, reason: str = "") -> BlockedRequestError:
        text = f"promptcache: no request leaves the machine: {name}" + (
            f" ({reason})" if reason else ""
        )
        text += f"; {_HOW_TO_ALLOW}"
        with self._lock:
            if text not in self.failures:
                self.failures.append(text)
        return BlockedRequestError(text)


def _token_response() -> ProviderResponse:
    body: dict[str, Any] = {"access_token": PLACEHOLDER, "expires_in": 3600, "token_type": "Bearer"}
    return ProviderResponse(body)
