"""Install the patches of all libraries for the time of one test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, TypeAlias

from wrapt import register_post_import_hook

from promptcache_testing.interception.aiohttp_connector import patch_aiohttp
from promptcache_testing.interception.botocore_session import patch_aiobotocore, patch_botocore
from promptcache_testing.interception.httpx_transports import patch_httpx
from promptcache_testing.interception.interceptor import Interceptor, InterceptorSwitch
from promptcache_testing.interception.name_resolution import patch_name_resolution
from promptcache_testing.interception.patches import Patches, loaded_module
from promptcache_testing.interception.requests_adapter import patch_requests

_Patch: TypeAlias = Callable[[Patches, ModuleType, Interceptor], None]

_LIBRARIES: Final[tuple[tuple[str, str, _Patch], ...]] = (
    ("httpx", "httpx", patch_httpx),
    ("httpx2", "httpx2", patch_httpx),
    ("aiohttp", "aiohttp", patch_aiohttp),
    ("botocore", "botocore.httpsession", patch_botocore),
    ("aiobotocore", "aiobotocore.client", patch_aiobotocore),
    ("requests", "requests", patch_requests),
)
"""Each library, the module whose import shows that it can be patched, and what patches it."""

_active: list[tuple[Patches, InterceptorSwitch]] = []
_watched: set[str] = set()


@contextmanager
def intercepted(interceptor: Interceptor) -> Generator[InterceptorSwitch]:
    """Send every request of this process through the interceptor, until the end of the context.

    The switch can put another interceptor in its place.
    """
    patches, switch = Patches(), InterceptorSwitch(interceptor)
    _active.append((patches, switch))
    try:
        for package, module, patch in _LIBRARIES:
            if loaded_module(module) is not None:
                patch(patches, sys.modules[package], switch)
            else:
                _watch_import(package, module, patch)
        patch_name_resolution(patches, switch)
        yield switch
    finally:
        switch.target = None
        _active.remove((patches, switch))
        patches.restore()


def _watch_import(package: str, module: str, patch: _Patch) -> None:
    """Patch a library once it is imported during a test. A hook cannot be taken back."""
    if module in _watched:
        return
    _watched.add(module)

    def on_import(_: Any) -> None:
        if _active:
            patches, switch = _active[-1]
            patch(patches, sys.modules[package], switch)

    register_post_import_hook(on_import, module)
