"""The options of `Prompt.chat`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from promptcache.harness.names import TTL, Content, Layer

if TYPE_CHECKING:
    from promptcache.harness.chat import Chat


class ChatOptions(TypedDict, total=False):
    """Further keyword arguments of `Prompt.chat`. All may be left out."""

    base_model: str | None
    """The model behind the name of a deployment or an inference profile, if `model` does not
    contain it."""
    shared: Content | None
    """What a group of conversations has in common, such as a tenant's playbook."""
    history: Sequence[Mapping[str, Any]] | Chat[Any]
    """The wire's own list of messages, as `Chat.history` returns it, or another `Chat`: of another
    wire its texts are carried over."""
    ttl: TTL | Mapping[Layer, TTL | None] | None
    """The lifetime of all breakpoints, or of each layer; by default the provider's."""
    shard: int
    """The number of the cache key's shard. See `Prompt.shard_key`."""
