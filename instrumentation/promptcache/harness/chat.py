"""One conversation: it returns the keyword arguments of the next call, and takes the answer."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, final

from promptcache.harness.breakpoints import Place
from promptcache.harness.cache_tracker import CacheTracker
from promptcache.harness.caching_style import CachingStyle
from promptcache.harness.changed_prompts import CacheLoss, warn_of_changed_param
from promptcache.harness.frozen_json import freeze_json, hash_json
from promptcache.harness.frozen_params import FrozenParams
from promptcache.harness.history import History
from promptcache.harness.named_caches import NamedCaches
from promptcache.harness.names import TTL, Content, Layer, Message, Wire
from promptcache.harness.plain_data import to_plain_data
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.recent_uses import RecentUses
from promptcache.harness.request_layout import RequestLayout, Turn
from promptcache.harness.wires.layers import FrozenLayers
from promptcache.harness.wires.tool_results import ToolResults
from promptcache.harness.wires.wire_layout import WireLayout
from promptcache.model import InvalidationLevel

Arguments = TypeVar("Arguments")


@final
class Chat(Generic[Arguments]):
    """A conversation over one wire with one model. `Prompt.chat` makes it.

    Its history only grows. Not safe to share between threads: a conversation has one writer.
    """

    def __init__(
        self,
        *,
        name: str,
        layers: FrozenLayers,
        layout: WireLayout,
        model: str,
        base_model: str,
        key: str,
        ttls: Mapping[Layer, TTL],
        params: FrozenParams,
        uses: RecentUses,
        named_caches: NamedCaches,
        history: Sequence[Message] = (),
    ) -> None:
        self.prompt_name = name
        self.prefix_key = f"{layout.wire} {model} {key} {hash_json(list(layers.shared))}"
        """Identifies the static and shared layers in the cache of one provider."""
        self._uses = uses
        self._named_caches = named_caches
        self._asked_at = 0.0
        self.wire: Wire = layout.wire
        self.model = model
        self.base_model = base_model
        self.cache_key = key
        named_model = None if layout.names_model else base_model
        self.stats = CacheTracker(provider=layout.style.provider, model=named_model)
        self._ttls = ttls
        self._layout = layout
        self._params = params
        self._request_layout = RequestLayout(layout, layers, ttls)
        self._history = History(layout, history)
        self._pending: list[Message] | None = None
        self._results: dict[str, Content] = {}
        self._failed: set[str] = set()

    @property
    def style(self) -> CachingStyle:
        """How the model caches, with the source of the rules."""
        return self._layout.style

    @property
    def history(self) -> list[Message]:
        """The committed turns as the wire's own list, without `now` and without breakpoints.

        It is a copy and can be serialised to JSON. `Prompt.chat(history=...)` takes it back.
        """
        stored = [self._layout.to_stored(message) for message in self._history.messages]
        return cast("list[Message]", freeze_json(stored, "history", sort_keys=False))

    @property
    def breakpoints(self) -> Mapping[Place, TTL]:
        """Where the last request had breakpoints of ours, and with which TTL."""
        return self._request_layout.breakpoints

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the last request has no breakpoint where it might have had one."""
        return self._request_layout.notes

    def ask(
        self,
        text: Content | None = None,
        *,
        now: Content | None = None,
        context: Content | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Arguments:
        """Return the keyword arguments for the next call. The history stays as it is.

        The turn consists of the pending results of tools, `context` (retrieved documents), `text`
        and `now`. `now` is for what changes with every call, such as the time: it stands behind the
        last breakpoint and is gone from the next turn. All else stays in the history once `add`
        takes the answer. A further `ask` before that replaces the turn, so a retry is safe.

        `params` are parameters of this call. Raise PromptError for a turn that the provider would
        refuse.
        """
        parts = self._layout.render_content(context, "context")
        parts += self._layout.render_content(text, "text")
        self._check_results(has_parts=bool(parts))
        results = ToolResults(self._results, self._failed, self._history.open_calls)
        messages = self._layout.build_turn(results, parts)
        turn = Turn(messages, self._layout.render_content(now, "now"))
        if turn.now and not messages:
            raise PromptError("now", "needs a question or the results of tools before it")
        cache_name = self._find_named_cache(params)
        request = self._request_layout.lay_out(
            self._history, turn, self.model, self.cache_key, has_cached_head=cache_name is not None
        )
        request = self._layout.finish(request, self._merge_params(params, cache_name))
        self._pending = messages
        self._asked_at = time.monotonic()
        return cast("Arguments", request)

    def _merge_params(
        self, params: Mapping[str, Any] | None, cache_name: str | None
    ) -> Mapping[str, Any]:
        """Return the parameters of a call, and warn of one that changed."""
        merged = self._params.merge(params, self._layout.reserved_arguments)
        for param, section in self._params.changes:
            warn_of_changed_param(self.prompt_name, param, section, self.loss_of(section))
        if cache_name is None:
            return merged
        held = self._layout.params_in_named_cache
        kept = {name: merged[name] for name in merged if name not in held}
        return {**kept, "cached_content": cache_name}

    def _find_named_cache(self, params: Mapping[str, Any] | None) -> str | None:
        """Return the name of the cache that holds the head and what belongs to it."""
        cache = self._named_caches.find(self.prefix_key)
        if cache is None or not self._layout.params_in_named_cache.isdisjoint(params or ()):
            return None
        return cache.name

    @property
    def head_tokens(self) -> int:
        """An upper estimate of the tokens of the static and shared layers."""
        return self._request_layout.head.tokens

    def loss_of(self, section: InvalidationLevel) -> CacheLoss:
        """Return what is processed anew if the prompt changes in this section."""
        tokens = self._history.tokens
        if section != "messages":
            tokens += self.head_tokens
        layer: Layer = "history" if section == "messages" else "static"
        ttl = self._ttls.get(layer) if self.style.ttls else None
        return CacheLoss(self.style.provider, self.base_model, tokens, ttl)

    def lay_out_head(self, text: str, params: Mapping[str, Any]) -> Message:
        """Return a request with the static and shared layers and a question, outside the chat.

        An empty text is no question.
        """
        history = History(self._layout)
        parts = self._layout.render_content(text, "text")
        messages = self._layout.build_turn(ToolResults({}, (), {}), parts)
        turn = Turn(messages, [])
        request = self._request_layout.lay_out(history, turn, self.model, self.cache_key)
        return self._layout.finish(request, params)

    def names_of_head_params(self) -> frozenset[str]:
        """Return the parameters of which a change drops the static layer from the cache."""
        return self._params.names_of_head_params()

    def tool_results(self, results: Mapping[str, Content], *, failed: Collection[str] = ()) -> None:
        """Keep the results of tools, by the ids of their calls, for the next `ask`.

        `failed` are the ids of calls whose result is an error. Raise PromptError for an id that the
        last answer does not contain.
        """
        waiting = self._history.open_calls
        unknown = [one for one in (*results, *failed) if one not in waiting]
        if unknown:
            raise PromptError("tool_results", f"{unknown[0]!r} is no open call; open: {[*waiting]}")
        self._results |= results
        self._failed |= set(failed)

    def add(self, answer: object) -> None:
        """Commit the pending turn and its answer, and count the answer's usage.

        `answer` is the SDK's final message, its plain dict, or the list of a stream's events. Raise
        PromptError without a pending turn, and for a live stream, which is not consumed.
        """
        if self._pending is None:
            raise PromptError("answer", "has no question; call ask() first")
        plain = to_plain_data(answer, "answer")
        messages = self._layout.read_answer(plain)
        self._history.append([*self._pending, *messages])
        self._pending = None
        self._results, self._failed = {}, set()
        misses = self.stats.misses
        self.stats.record(plain)
        has_missed = self.stats.misses > misses
        self._uses.note_use(self.prefix_key, self._asked_at, has_missed=has_missed)

    def text_of(self, message: Message, path: str) -> tuple[str, str]:
        """Return role and text of a message of this wire. Raise PromptError if it holds more."""
        return self._layout.text_of(message, path)

    def _check_results(self, *, has_parts: bool) -> None:
        waiting = self._history.open_calls
        missing = [one for one in waiting if one not in self._results]
        if missing:
            raise PromptError(
                "tool_results", f"{missing[0]!r} has no result, and each call needs one"
            )
        if has_parts or waiting:
            return
        last = self._history.messages[-1:]
        if not last or self._layout.is_from_user(last[0]):
            raise PromptError("text", "is empty, and there is nothing to go on with")
