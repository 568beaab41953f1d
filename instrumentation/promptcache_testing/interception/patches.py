"""Replace attributes of classes and modules, and restore them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import CodeType, ModuleType
from typing import Any, Final

_ORIGINAL: Final = "_promptcache_original"


class Patches:
    """The attributes that were replaced. `restore` puts each original back, the last first.

    If somebody else replaced an attribute after us, it is left alone. A wrapper of ours that comes
    back later, when a mock ends, lets everything pass, and the next one skips it.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[object, str, Any, Any]] = []

    def wrap(self, owner: object, name: str, make_wrapper: Callable[[Any], Any]) -> None:
        """Replace `owner.name` by `make_wrapper(original)`, if the owner has it."""
        found: Any = vars(owner).get(name)
        if found is None:
            return
        # Not by getattr: a Mock has every attribute.
        original = getattr(found, "__dict__", {}).get(_ORIGINAL, found)
        wrapper = make_wrapper(original)
        setattr(wrapper, _ORIGINAL, original)
        setattr(owner, name, wrapper)
        self._replaced.append((owner, name, found, wrapper))

    def restore(self) -> None:
        while self._replaced:
            owner, name, original, wrapper = self._replaced.pop()
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, original)


def loaded_module(name: str) -> ModuleType | None:
    """Return the module if the process imported it completely, without importing it."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return None if getattr(spec, "_initializing", False) else module


def is_defined_in(function: Any, package: ModuleType) -> bool:
    """Return whether a function's code lies in the package: a mock's code lies elsewhere."""
    code: CodeType | None = getattr(function, "__code__", None)
    folder = os.path.dirname(package.__file__ or "")
    return code is not None and bool(folder) and code.co_filename.startswith(folder + os.sep)


def has_own_connections(pool_class: Any, package: str) -> bool:
    """Return whether a pool of urllib3 opens the package's connections, and not those of VCR."""
    return str(pool_class.ConnectionCls.__module__).partition(".")[0] == package


def response_headers(media_type: str, headers: Mapping[str, str], size: int) -> dict[str, str]:
    """Return the headers of an answer."""
    return {"content-type": media_type, "content-length": str(size), **headers}
