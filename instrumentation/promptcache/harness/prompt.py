"""What is the same in every call: tools, system prompt and examples."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack, final, overload

from promptcache.harness.frozen_json import canonical_json, check_text, freeze_json, hash_json
from promptcache.harness.json_guards import is_object
from promptcache.harness.named_caches import NamedCaches
from promptcache.harness.names import LAYERS, TTL, Block, Content, Layer, Wire
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.recent_uses import RecentUses
from promptcache.harness.tool import Tool, freeze_tools
from promptcache.harness.wires.layers import FrozenLayers

if TYPE_CHECKING:
    from promptcache.harness.arguments import (
        AnthropicArguments,
        ChatArguments,
        ConverseArguments,
        GeminiArguments,
        InvokeModelArguments,
        LiteLLMArguments,
        ResponsesArguments,
    )
    from promptcache.harness.caching_style import CachingStyle
    from promptcache.harness.chat import Chat
    from promptcache.harness.chat_options import ChatOptions
    from promptcache.harness.named_cache_request import NamedCacheRequest
    from promptcache.harness.plan import Plan
    from promptcache.harness.warmed import Warmed
    from promptcache.harness.warming import WarmRequest

_MAX_NAME_CHARS: Final = 40
"""A key has at most 64 characters (OpenAI's API reference): name, version and shard."""
_ALLOWED_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@final
class Prompt:
    """The static layer of a prompt, with its bytes frozen. Safe to share between threads.

    The layers of a request have one order, from what changes never to what changes always: tools,
    system, examples, shared, history, context, now. Providers cache a prefix, so a change in one
    layer costs all layers after it.
    """

    def __init__(
        self,
        name: str,
        *,
        system: Content | None = None,
        tools: Sequence[Tool | Mapping[str, Any]] = (),
        examples: str | Sequence[tuple[str, str]] = (),
        params: Mapping[str, Any] | None = None,
        sort_keys: bool = True,
    ) -> None:
        """Freeze the layers.

        `name` identifies the prompt in the cache key: 1 to 40 letters, digits, `_`, `.` and `-`.
        `tools` are in the harness's form (`Tool`) or in a wire's own; they and their keys are
        sorted, except with `sort_keys=False`. `examples` are pairs of question and answer, which
        become turns, or a text, which ends the system prompt. `params` are request parameters that
        stay the same, such as `tool_choice` and `thinking`.

        Raise PromptError for what would not serialise to the same bytes each time.
        """
        if not _ALLOWED_NAME.fullmatch(name):
            raise PromptError("name", "has other characters than letters, digits, `_`, `.` and `-`")
        self.name = name
        self._is_compared = False
        self._params = freeze_json(params or {}, "params", sort_keys=False)
        self._layers = FrozenLayers(
            tuple(freeze_tools(tools, sort_keys=sort_keys)),
            *_freeze_system_and_examples(system, examples),
        )
        layers = self._layers._asdict()
        parts = ("tools", "system", "examples")
        self._texts = {part: canonical_json(layers[part]) for part in parts}
        self._uses = RecentUses()
        self._named_caches = NamedCaches()
        self.version: str = hash_json(list(self._texts.values()))
        """A hash of the static layer. Equal versions have equal bytes, in every process."""

    def __repr__(self) -> str:
        return f"Prompt({self.name!r}, version={self.version!r})"

    @property
    def cache_key(self) -> str:
        """The key that sends calls with this prompt to the same cache: name and version."""
        return self.shard_key(0)

    def shard_key(self, shard: int) -> str:
        """Return the cache key of a shard; 0 is `cache_key` itself.

        OpenAI's models before GPT-5.6 spread a key over several machines above about 15 requests a
        minute. Give each conversation one of several shards then. The key never contains a text of
        a user.
        """
        return f"{self.name}-{self.version}" + (f"-{shard}" if shard else "")

    def warm(
        self,
        client: Any,
        *,
        wire: Wire,
        model: str,
        if_idle: float = 240.0,
        **options: Unpack[ChatOptions],
    ) -> Warmed:
        """Fill the cache with the static and shared layers, through the SDK's own client.

        Nothing is sent while they were used within `if_idle` seconds in this process, while another
        caller warms them, or shortly after a failed attempt. On Gemini a named cache is created or
        renewed where calls were seen to miss and storage pays; `close` deletes it. `client` is the
        wire's client (the module `litellm` for LiteLLM). Errors of the client reach the caller.
        """
        return self._warm_request(wire, model, options).run(client, if_idle)

    async def warm_async(
        self,
        client: Any,
        *,
        wire: Wire,
        model: str,
        if_idle: float = 240.0,
        **options: Unpack[ChatOptions],
    ) -> Warmed:
        """Do as `warm` does, through an asynchronous client (`client.aio` of google-genai)."""
        return await self._warm_request(wire, model, options).run_async(client, if_idle)

    def close(self) -> None:
        """Delete the named caches that `warm` created. Errors of the client reach the caller."""
        self._named_caches.delete_all()

    async def close_async(self) -> None:
        """Delete the named caches that `warm` and `warm_async` created."""
        await self._named_caches.delete_all_async()

    def _warm_request(
        self, wire: Wire, model: str, options: ChatOptions
    ) -> WarmRequest | NamedCacheRequest:
        from promptcache.harness.named_cache_request import NamedCacheRequest
        from promptcache.harness.warming import WarmRequest

        chat = self.chat(wire=wire, model=model, **options)
        if wire == "gemini":
            return NamedCacheRequest(chat, self._uses, self._named_caches, self._params)
        return WarmRequest.build(chat, self._uses, self._params)

    def plan(
        self,
        *,
        model: str,
        calls_per_hour: float | None = None,
        db: str | os.PathLike[str] | None = None,
        since: float | None = None,
        wire: Wire | None = None,
        shared: Content | None = None,
        shared_calls_per_hour: float | None = None,
        gaps: Sequence[float] | None = None,
        turn_gaps: Sequence[float] | None = None,
        at: float | None = None,
    ) -> Plan:
        """Return how to cache this prompt: breakpoints, TTLs, key, expected hit rate and cost.

        `calls_per_hour` counts all calls with this prompt; they are assumed to arrive independently
        unless `gaps` has recorded seconds between two calls. `turn_gaps` are the seconds between
        two turns. What you do not give of these three is read from `db`, a local table, from its
        calls since `since` (epoch seconds). `shared` and `shared_calls_per_hour` describe one
        group. `at` (epoch seconds) selects the price list. Equal arguments give equal plans, except
        on another day. Raise PromptError for what is no traffic.
        """
        from promptcache.harness.plan_request import PlanRequest, make_plan, usual_wire
        from promptcache.harness.token_estimate import estimate_tokens
        from promptcache.harness.wires.registry import check_wire

        identity = (self.name, self.version, self.cache_key, model)
        request = PlanRequest(
            *identity,
            wire=check_wire(wire) if wire else usual_wire(model),
            static_tokens=estimate_tokens(list(self._layers[:3])),
            calls_per_hour=calls_per_hour,
            shared_tokens=estimate_tokens(list(_freeze_content(shared, "shared"))),
            shared_calls_per_hour=shared_calls_per_hour,
            gaps=gaps,
            turn_gaps=turn_gaps,
            at=at,
        )
        return make_plan(request.with_recorded_traffic(db, since))

    @overload
    def chat(
        self, *, wire: Literal["anthropic"], model: str, **options: Unpack[ChatOptions]
    ) -> Chat[AnthropicArguments]: ...

    @overload
    def chat(
        self, *, wire: Literal["chat"], model: str, **options: Unpack[ChatOptions]
    ) -> Chat[ChatArguments]: ...

    @overload
    def chat(
        self, *, wire: Literal["responses"], model: str, **options: Unpack[ChatOptions]
    ) -> Chat[ResponsesArguments]: ...

    @overload
    def chat(
        self, *, wire: Literal["gemini"], model: str, **options: Unpack[ChatOptions]
    ) -> Chat[GeminiArguments]: ...

    @overload
    def chat(
        self, *, wire: Literal["converse"], model: str, **options: Unpack[ChatOptions]
    ) -> Chat[ConverseArguments]: ...

    @overload
    def chat(
        self, *, wire: Literal["invoke_model"], model: str, **options: Unpack[ChatOptions]
    ) -> Chat[InvokeModelArguments]: ...

    @overload
    def chat(
        self, *, wire: Literal["litellm"], model: str, **options: Unpack[ChatOptions]
    ) -> Chat[LiteLLMArguments]: ...

    @overload
    def chat(self, *, wire: Wire, model: str, **options: Unpack[ChatOptions]) -> Chat[Any]: ...

    def chat(self, *, wire: Wire, model: str, **options: Unpack[ChatOptions]) -> Chat[Any]:
        """Start a conversation, or go on with one. `ChatOptions` describes the options.

        `wire` is the API, `model` what the SDK sends. Raise PromptError for what cannot be laid out
        on this wire, with the path of it.
        """
        from promptcache.harness.caching_style import caching_style_of
        from promptcache.harness.carry_over import carry_over
        from promptcache.harness.changed_prompts import warn_of_changed_prompt
        from promptcache.harness.chat import Chat
        from promptcache.harness.frozen_params import FrozenParams
        from promptcache.harness.wires.registry import check_wire, load_layout
        from promptcache.prefix.known_prompts import remember_prompt

        base_model = options.get("base_model") or model
        style = caching_style_of(check_wire(wire), base_model)
        layout = load_layout(wire, style)
        shared = _freeze_content(options.get("shared"), "shared")
        chat = Chat[Any](
            name=self.name,
            layers=self._layers._replace(shared=shared),
            layout=layout,
            model=model,
            base_model=base_model,
            key=self.shard_key(options.get("shard", 0) if style.takes_key else 0),
            ttls=_ttls_of_layers(options.get("ttl"), style, model),
            params=FrozenParams(wire, self._params),
            uses=self._uses,
            named_caches=self._named_caches,
            history=carry_over(options.get("history", ()), layout, model),
        )
        if not self._is_compared:
            self._is_compared = True
            examples = self._layers.examples
            remember_prompt(self.name, self.version, self._layers[:2], examples)
            warn_of_changed_prompt(self.name, self._texts, chat.loss_of("tools"))
        return chat


def _ttls_of_layers(
    ttl: TTL | Mapping[Layer, TTL | None] | None, style: CachingStyle, model: str
) -> dict[Layer, TTL]:
    """Return the TTLs of the layers that may have a breakpoint."""
    from promptcache.harness.caching_style import check_ttl

    default: TTL = style.ttls[0] if style.ttls else "5m"
    ttls: dict[Layer, TTL] = {}
    for layer in LAYERS:
        wanted: TTL | None
        if isinstance(ttl, str) or ttl is None:
            wanted = ttl
        else:
            if ttl.get(layer, default) is None:
                continue
            wanted = ttl.get(layer)
        ttls[layer] = check_ttl(style, wanted, f"ttl[{layer!r}]", model) if wanted else default
    return ttls


def _freeze_content(content: Content | None, path: str) -> tuple[str | Block, ...]:
    if content is None:
        return ()
    given = [content] if isinstance(content, (str, Mapping)) else list(content)
    return tuple(
        check_text(part, path) if isinstance(part, str) else _freeze_block(part, f"{path}[{index}]")
        for index, part in enumerate(given)
    )


def _freeze_block(block: object, path: str) -> Block:
    frozen = freeze_json(block, path, sort_keys=False)
    if not is_object(frozen):
        raise PromptError(path, f"is neither a text nor a block, but {type(block).__name__}")
    return frozen


def _freeze_system_and_examples(
    system: Content | None, examples: str | Sequence[tuple[str, str]]
) -> tuple[tuple[str | Block, ...], tuple[tuple[str, str], ...]]:
    parts = _freeze_content(system, "system")
    if isinstance(examples, str):
        return (*parts, *_freeze_content(examples, "examples")), ()
    return parts, _freeze_examples(examples)


def _freeze_examples(examples: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for index, pair in enumerate(examples):
        question, answer = pair
        path = f"examples[{index}]"
        if not question.strip() or not answer.strip():
            raise PromptError(path, "has an empty text, which providers refuse")
        pairs.append((check_text(question, path), check_text(answer, path)))
    return tuple(pairs)
