"""Decode the content encoding of a response while its bytes arrive.

httpx has such decoders, but keeps them private, and `httpx2` has its own copy of them. An encoding
beside gzip and deflate is decoded by the package with which httpx decodes it: httpx asks a server
for `br` or `zstd` only if that package is installed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

ContentDecoder = Callable[[bytes], bytes]
"""Decode the next bytes; keep what is incomplete for the next call."""


def make_content_decoder(content_encoding: str) -> ContentDecoder | None:
    """Return the decoder for the value of a `Content-Encoding` header; None for plain bytes.

    An encoding that cannot be decoded here decodes to nothing.
    """
    if not content_encoding:
        return None
    # The header lists the encodings in the order in which the server applied them.
    names = [name.strip().lower() for name in reversed(content_encoding.split(","))]
    try:
        decoders = [_DECODER_FACTORIES[name]() for name in names if name not in _PLAIN]
    except (LookupError, ImportError):
        return _decode_to_nothing
    if len(decoders) < 2:
        return decoders[0] if decoders else None

    def decode(data: bytes) -> bytes:
        for decoder in decoders:
            data = decoder(data)
        return data

    return decode


def _decode_to_nothing(data: bytes) -> bytes:
    return b""


_PLAIN: Final = frozenset({"", "identity"})


def _make_gzip_decoder() -> ContentDecoder:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress


class _DeflateDecoder:
    """Decode `deflate`: by the standard with zlib's header, from some servers without it."""

    def __init__(self) -> None:
        self._decode: ContentDecoder | None = None

    def __call__(self, data: bytes) -> bytes:
        if not data:
            return b""
        if self._decode is None:
            has_zlib_header = data[0] & 0x0F == zlib.DEFLATED
            window_bits = zlib.MAX_WBITS if has_zlib_header else -zlib.MAX_WBITS
            self._decode = zlib.decompressobj(window_bits).decompress
        return self._decode(data)


def _make_brotli_decoder() -> ContentDecoder:
    try:
        brotli: Any = import_module("brotli")
    except ImportError:
        brotli = import_module("brotlicffi")
    decompressor = brotli.Decompressor()
    # The two packages have two names for one method.
    decode: ContentDecoder = getattr(decompressor, "process", None) or decompressor.decompress
    return decode


class _ZstdDecoder:
    """Decode `zstd`. A body may consist of several frames, and a decompressor reads one."""

    def __init__(self) -> None:
        self._make_decompressor = _zstd_decompressor_factory()
        self._decompressor: Any = self._make_decompressor()

    def __call__(self, data: bytes) -> bytes:
        decoded = b""
        while data:
            if self._decompressor.eof:
                self._decompressor = self._make_decompressor()
            decoded += self._decompressor.decompress(data)
            data = self._decompressor.unused_data if self._decompressor.eof else b""
        return decoded


def _zstd_decompressor_factory() -> Callable[[], Any]:
    # Python 3.14 has the first, httpx2 uses the second before, httpx the third.
    for module in ("compression.zstd", "backports.zstd"):
        try:
            factory: Callable[[], Any] = import_module(module).ZstdDecompressor
        except ImportError:
            continue
        return factory
    zstandard: Any = import_module("zstandard")
    return lambda: zstandard.ZstdDecompressor().decompressobj()


_DECODER_FACTORIES: Final[Mapping[str, Callable[[], ContentDecoder]]] = {
    "gzip": _make_gzip_decoder,
    "x-gzip": _make_gzip_decoder,
    "deflate": _DeflateDecoder,
    "br": _make_brotli_decoder,
    "zstd": _ZstdDecoder,
}
