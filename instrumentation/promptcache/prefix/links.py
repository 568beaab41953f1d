"""Hash the prefixes of prompts for the local table only (docs/specs/prefix.md).

A link identifies a prefix up to the end of one block, in every process that has the same key. It is
a keyed BLAKE2b over the link before it and the `marshal` bytes of the block: a call hashes its new
blocks only. Links are made under a key of a recording, never under one of the user's settings.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, final

from promptcache.common.generational_cache import GenerationalCache
from promptcache.common.json_sanitize import marshal_or_sanitize
from promptcache.model import SECTIONS, Param
from promptcache.prefix.link_text import KEY_ID_LENGTH, format_levels

_LINK_BYTES: Final = 6
_TENANT_BYTES: Final = 3
_PARAMS_BYTES: Final = 3
_MAX_REMEMBERED_PARAMS: Final = 1024


@final
class LinkHasher:
    """Compute links, and digests of parameters, under `key`.

    `key_id` tells keys apart without showing them.
    """

    __slots__ = ("_key", "_params_by_digest", "key_id")

    def __init__(self, key: bytes) -> None:
        self._key = blake2b(key, digest_size=32, person=b"link").digest()
        key_id = _encode(blake2b(key, digest_size=3, person=b"key id").digest())
        self.key_id = key_id[:KEY_ID_LENGTH]
        self._params_by_digest: GenerationalCache[int, str] = GenerationalCache(
            _MAX_REMEMBERED_PARAMS
        )

    def link_block(self, previous: str, section: str, data: Any) -> str:
        """Return the link of a prefix that is one block longer than that of `previous`.

        The link of the empty prefix is an empty text.
        """
        return self._hash(previous.encode() + marshal_or_sanitize((section, data)), _LINK_BYTES)

    def describe_params(self, params: Iterable[Param], params_digest: int) -> str:
        """Return a digest of the parameters of each invalidation level that has any.

        The digests of equal parameters are remembered by their in-process digest.
        """
        known = self._params_by_digest.get(params_digest)
        if known is None:
            known = format_levels(dict(self._digest_levels(params)))
            self._params_by_digest[params_digest] = known
        return known

    def _digest_levels(self, params: Iterable[Param]) -> Iterable[tuple[str, str]]:
        chosen = list(params)
        for level in SECTIONS:
            of_level = [(p.name, p.value) for p in chosen if p.invalidation_level == level]
            if of_level:
                yield level, self._hash(marshal_or_sanitize(of_level), _PARAMS_BYTES)

    def _hash(self, data: bytes, size: int) -> str:
        return _encode(blake2b(data, digest_size=size, key=self._key).digest())


def shorten_scope(cache_scope: bytes) -> str:
    """Return the first bytes of a digest of a credential as text."""
    return _encode(cache_scope[:_TENANT_BYTES])


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode()
