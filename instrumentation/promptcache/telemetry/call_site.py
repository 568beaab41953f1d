"""Find the line of the application that makes a call."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import lru_cache
from pathlib import PurePath
from types import FrameType
from typing import Final

from promptcache.model import CallSite

_PACKAGE_FOLDER: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
_INSTALL_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})


def find_call_site() -> CallSite | None:
    """Return the innermost frame of the application on this thread's stack, None if there is none.

    A frame belongs to the application if its file lies neither in this package, nor in the standard
    library, nor in a folder of installed packages.
    """
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the documented way to a cheap stack walk
    while frame is not None:
        code = frame.f_code
        if (file := _path_if_application_file(code.co_filename)) is not None:
            module = frame.f_globals.get("__name__", "")
            function = f"{module}.{code.co_qualname}" if module else code.co_qualname
            return CallSite(function, file, frame.f_lineno)
        frame = frame.f_back
    return None


@lru_cache(maxsize=4096)
def _path_if_application_file(filename: str) -> str | None:
    """Return the path for `code.file.path`, None if the file is not the application's.

    The path is relative to the working folder if the file lies inside it.
    """
    if filename.startswith(("<frozen", _PACKAGE_FOLDER)):
        return None
    if _INSTALL_FOLDERS & set(PurePath(filename).parts):
        return None
    if filename.startswith(_stdlib_folders()):
        return None
    return filename.removeprefix(os.getcwd() + os.sep)


@lru_cache(maxsize=1)
def _stdlib_folders() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
