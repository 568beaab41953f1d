"""The emulator without its server: a clock, a cache, what the providers remember, and one way in, `handle`."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from promptcache.emulator import profiles
from promptcache.emulator.cache import Cache, Outcome, Plan
from promptcache.emulator.faults import NONE, Fault, Faults, malform
from promptcache.emulator.plain import JSON, is_object
from promptcache.emulator.profiles import Rules
from promptcache.emulator.routes import ROUTES
from promptcache.emulator.wire import Answer, Incoming, Refused, Route

_KEPT: Final = 4096
USAGE: Final = frozenset({"usage", "usageMetadata", "amazon-bedrock-invocationMetrics"})


class Clock:
    """Epoch seconds that tests can move: frozen at `start` if that is given, else the real clock and an offset."""

    def __init__(self, start: float | None = None) -> None:
        self._start, self._offset = start, 0.0

    def __call__(self) -> float:
        return (time.time() if self._start is None else self._start) + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds


@dataclass(frozen=True, slots=True)
class Record:
    """The truth about one request that reached a cache, to hold reports against. `written` is by TTL."""

    at: float
    path: str
    model: str
    tenant: str
    outcome: Outcome
    output: int
    plan: Plan

    def summary(self) -> JSON:
        """The record as JSON, without the prompt, and with a digest for the credential."""
        who = blake2b(self.tenant.encode(), digest_size=4).hexdigest()
        shown = {
            "at": self.at,
            "path": self.path,
            "model": self.model,
            "tenant": who,
            "output": self.output,
        }
        usage = self.outcome
        return shown | {
            "input": usage.input,
            "read": usage.read,
            "write": usage.write,
            "written": dict(usage.written),
            "uncached": usage.uncached,
            "reusable": usage.reusable,
        }


class Emulator:
    """All providers behind one `handle`. `rules` overrides every profile (`minimum=2048,implicit=latest`)."""

    def __init__(self, clock: Callable[[], float] | None = None, rules: str = "") -> None:
        self.clock = clock or Clock()
        self.cache = Cache(self.clock)
        self.faults = Faults()
        self.overrides = profiles.overrides(rules)
        self.ledger: deque[Record] = deque(maxlen=1000)
        self.totals: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.named: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}

    def fork(self) -> Emulator:
        """An independent copy of all that is held: what would have happened had another request been sent."""
        twin = Emulator(self.clock)
        twin.cache, twin.overrides = self.cache.fork(), self.overrides
        twin.named, twin._kept = dict(self.named), dict(self._kept)
        return twin

    def reset(self) -> None:
        """Forgets everything but the clock and the rules."""
        self.cache.clear()
        self.faults.clear()
        for held in (self.ledger, self.totals, self.paths, self.named, self._kept):
            held.clear()

    def keep(self, name: str, value: Any) -> None:
        """Remembers a response under its id; the oldest are forgotten."""
        self._kept[name] = value
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def kept(self, name: str) -> Any:
        """What `keep` was given under this name, None where it is not known."""
        return self._kept.get(name)

    def rules(self, table: tuple[Rules, ...], model: str, incoming: Incoming) -> Rules:
        """The profile in force for this request: dated row, then overrides, then those of its own header."""
        own = profiles.overrides(incoming.headers.get("x-emulator-rules", ""))
        return profiles.rules(table, model, self.clock(), self.overrides | own)

    def settle(
        self, incoming: Incoming, model: str, plan: Plan, output: int
    ) -> tuple[Outcome, Callable[[], None]]:
        """Asks the cache, keeps the record. Returns what was read and written, and the commit of what is written."""
        outcome, commit = self.cache.look(incoming.tenant, plan)
        self.note(incoming, model, plan, output, outcome)
        return outcome, commit

    def note(
        self, incoming: Incoming, model: str, plan: Plan, output: int, outcome: Outcome
    ) -> None:
        """Keeps the record of a request that did not ask the cache: what it names is there."""
        self.ledger.append(
            Record(self.clock(), incoming.path, model, incoming.tenant, outcome, output, plan)
        )
        counts = {
            "input": outcome.input,
            "read": outcome.read,
            "write": outcome.write,
            "uncached": outcome.uncached,
        }
        self.totals.update(counts, settled=1, output=output)

    def handle(
        self,
        method: str,
        path: str,
        raw: bytes,
        headers: Mapping[str, str],
        query: Mapping[str, str],
    ) -> tuple[Answer, Incoming]:
        """Answers one request. `headers` have lower-case names. Never raises on a request that a provider refuses."""
        self.paths[f"{method} {path}"] += 1
        incoming = Incoming(method, path, {}, headers, query, tenant(headers, query), NONE)
        route, params = _route(method, path)
        if route is None:
            return Answer(
                {"error": {"message": f"no such path: {method} {path}"}}, status=404
            ), incoming
        try:
            incoming = replace(
                incoming, fault=self._fault(path, headers, raw), params=params, body=_body(raw)
            )
            return _disturb(self._answer(route, incoming), incoming), incoming
        except Refused as refused:
            return Answer(
                route.refuse(refused), status=refused.status, headers=_retry(refused.status)
            ), incoming

    def _fault(self, path: str, headers: Mapping[str, str], raw: bytes) -> Fault:
        try:
            return self.faults.take(path, headers, raw)
        except ValueError as error:
            raise Refused(400, f"x-emulator-fault: {error}") from error

    def _answer(self, route: Route, incoming: Incoming) -> Answer:
        """The provider's answer. What no handler could make sense of is refused, as a provider's validation would."""
        if status := incoming.fault.status:
            raise Refused(status, "a fault on demand", _KINDS.get(status, "api_error"))
        try:
            return route.handler(self, incoming)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Refused(400, f"malformed request: {error!r}") from error

    def post(
        self, path: str, body: JSON, key: str = "key", headers: Mapping[str, str] | None = None
    ) -> Any:
        """In-process: the JSON of the answer, or the list of its stream's events. Cache entries are made at once."""
        sent = {"authorization": f"Bearer {key}"} | {
            name.lower(): text for name, text in (headers or {}).items()
        }
        answer, _ = self.handle("POST", path, json.dumps(body).encode(), sent, {})
        answer.commit()
        return answer.body if answer.events is None else answer.events


_KINDS: Final = {
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def tenant(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The credential, in any of the places where the SDKs put it; of an AWS signature only the access key."""
    for name in ("x-api-key", "api-key", "x-goog-api-key", "authorization"):
        if value := headers.get(name):
            signed = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/", value)
            return signed[1] if signed else value.removeprefix("Bearer ")
    return query.get("key", "")


def _route(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in ROUTES:
        if (params := route.match(method, path)) is not None:
            return route, params
    return None, {}


def _body(raw: bytes) -> JSON:
    try:
        body = json.loads(raw or b"{}")
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not is_object(body):
        raise Refused(400, "the body is not a JSON object")
    return body


def _retry(status: int) -> dict[str, str]:
    return {"retry-after-ms": "1"} if status in {408, 409, 429} or status >= 500 else {}


def _disturb(answer: Answer, incoming: Incoming) -> Answer:
    fault = incoming.fault
    if fault.usage:
        answer.body = malform(answer.body, fault.usage, USAGE)
        answer.events = malform(answer.events, fault.usage, USAGE)
    if fault.error_event is not None and answer.events is not None and answer.breaks is not None:
        answer.events = [*answer.events[: fault.error_event], answer.breaks]
    return answer


def summary(emulator: Emulator) -> JSON:
    """The counters of `GET /_emulator/requests`: requests by path, sums over all of them, the last hundred records."""
    last = [record.summary() for record in list(emulator.ledger)[-100:]]
    names = ("settled", "input", "read", "write", "uncached", "output")
    totals = {name: emulator.totals[name] for name in names}
    return {
        "requests": emulator.paths.total(),
        "paths": dict(emulator.paths),
        "totals": totals,
        "last": last,
    }
