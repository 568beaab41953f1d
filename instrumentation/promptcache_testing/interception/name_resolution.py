"""Everything else that opens a connection by name, WebSockets above all: it fails by name."""

from __future__ import annotations

import socket
from typing import Any

from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.interception.patches import Patches


def patch_name_resolution(patches: Patches, interceptor: Interceptor) -> None:
    """Patch `socket.getaddrinfo`, which Python's clients ask before they connect."""

    def wrap_getaddrinfo(original: Any) -> Any:
        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            name = host.decode("idna") if isinstance(host, bytes) else host
            if name:
                interceptor.check_host(name)
            return original(host, *args, **kwargs)

        return getaddrinfo

    patches.wrap(socket, "getaddrinfo", wrap_getaddrinfo)
