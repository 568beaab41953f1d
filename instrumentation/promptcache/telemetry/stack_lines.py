"""Read stacks: which of their lines belong to the application, and where a task begins."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import lru_cache
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any, Final

from promptcache.common.bounded_dict import BoundedDict
from promptcache.model import CallSite

_PACKAGE_FOLDER: Final = os.path.dirname(os.path.dirname(__file__))
_OWN_FOLDERS: Final = (_PACKAGE_FOLDER + os.sep, _PACKAGE_FOLDER + "_testing" + os.sep)
"""The packages of ours that run inside a call of the application."""
_INSTALL_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})
_EVENT_LOOP_FILES: Final = tuple(
    os.path.join(*parts) for parts in (("", "asyncio", "events.py"), ("trio", "_core", "_run.py"))
)
_EVENT_LOOP: Final = ""
"""Stands for a path: the file is the one of an event loop that runs a step of a task."""
_LOOPS_IN_C: Final = frozenset({"uvloop", "winloop", "rloop"})
_KNOWN_LINES: Final = BoundedDict[tuple[int, int], tuple[CodeType, CallSite]](4096)
"""Id of the code, and instruction -> line. Python reads a table to find the line of an instruction.

The code is kept: else another one could get its id. It is not the key, since its hash covers all of
its instructions.
"""
_OWN_RUNS: Final = BoundedDict[int, tuple[CodeType, int, CodeType]](256)
"""Id of the code of a function of ours -> the code, how many frames of ours begin with it, and the
code of the last of them. Python makes an object for each frame that is looked at, which takes most
of the time of a walk."""
_frame_at: Final = sys._getframe  # pyright: ignore[reportPrivateUsage]  # the documented way to a cheap stack walk
_MAX_FILES: Final = 4096
_CELL_PREFIXES: Final = ("<ipython-input", "<python-input")
"""First parts of the names of cells that a person types. Other names in `<>` are generated code."""


def innermost_line(frame: FrameType | None, last: FrameType | None = None) -> CallSite | None:
    """Return the first line of the application among `frame` and its callers, up to `last`.

    A frame belongs to the application if its file lies neither in our packages, nor in the standard
    library, nor in a folder of installed packages or of their scripts, and if it was not generated.
    """
    while frame is not None:
        path = _PATHS[frame.f_code.co_filename]
        if path is not None:
            return line_of_frame(frame) if path else None  # it is empty for an event loop
        if frame is last:
            return None
        frame = frame.f_back
    return None


def first_frame_of_caller(depth: int) -> FrameType | None:
    """Return the frame `depth` frames up, or that of our caller if a function of ours is there.

    Between two functions of ours at a known distance there are only functions of ours.
    """
    first = _frame_at(depth + 1)
    known = _OWN_RUNS.get(id(first.f_code))
    if known is not None and known[0] is first.f_code:
        try:
            last = _frame_at(depth + known[1])
        except ValueError:  # the stack is not so deep
            last = first
        if last.f_code is known[2]:
            return last.f_back
    frame: FrameType | None = first
    count, last = 0, first
    while frame is not None and frame.f_code.co_filename.startswith(_OWN_FOLDERS):
        count, last, frame = count + 1, frame, frame.f_back
    if count > 1:
        _OWN_RUNS[id(first.f_code)] = first.f_code, count, last.f_code
    return frame


def current_task() -> Any:
    """Return the asyncio task that runs in this thread, None if there is none."""
    loop = _running_loop()
    return sys.modules["asyncio"].current_task(loop) if loop is not None else None


def has_loop_without_frames() -> bool:
    """Return whether a loop in C runs here. The frames of asyncio's own show where a task ends."""
    if "uvloop" not in sys.modules and "winloop" not in sys.modules and "rloop" not in sys.modules:
        return False
    return type(_running_loop()).__module__.partition(".")[0] in _LOOPS_IN_C


def _running_loop() -> Any:
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio._get_running_loop() if asyncio is not None else None


def first_frame_of_task(task: Any) -> FrameType | None:
    """Return the outermost frame of an asyncio task, below which the event loop runs."""
    return getattr(task.get_coro(), "cr_frame", None) if task is not None else None


def line_of_frame(frame: FrameType) -> CallSite | None:
    """Return the line at which `frame` is, None if it is not the application's."""
    code = frame.f_code
    key = id(code), frame.f_lasti
    known = _KNOWN_LINES.get(key)
    if known is not None and known[0] is code:
        return known[1]
    path = _PATHS[code.co_filename]
    if not path:
        return None
    module, name = frame.f_globals.get("__name__", ""), code.co_qualname
    site = CallSite(f"{module}.{name}" if module else name, path, frame.f_lineno)
    _KNOWN_LINES[key] = code, site
    return site


def is_code_of_application(code: CodeType) -> bool:
    """Return whether the application has this code."""
    return bool(_PATHS[code.co_filename])


def _application_path(filename: str) -> str | None:
    """Return the path for `code.file.path`, None if the file is not the application's.

    The path is relative to the working folder if the file lies inside it.
    """
    if filename.endswith(_EVENT_LOOP_FILES):
        return _EVENT_LOOP
    if filename.startswith("<") and not filename.startswith(_CELL_PREFIXES):
        return None
    if filename.startswith((*_OWN_FOLDERS, *_stdlib_folders())):
        return None
    if _INSTALL_FOLDERS & set(PurePath(filename).parts):
        return None
    if os.path.dirname(filename) in _scripts_folders():
        return None
    return filename.removeprefix(os.getcwd() + os.sep)


class _ApplicationPaths(dict[str, str | None]):
    """File of a code -> what `_application_path` says. To subscript it is the fastest way."""

    def __missing__(self, filename: str) -> str | None:
        if len(self) >= _MAX_FILES:
            self.clear()
        path = self[filename] = _application_path(filename)
        return path


_PATHS: Final = _ApplicationPaths()


@lru_cache(maxsize=1)
def _stdlib_folders() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})


@lru_cache(maxsize=1)
def _scripts_folders() -> frozenset[str]:
    """Return the folders into which installers write launchers such as `uvicorn`."""
    schemes = {sysconfig.get_preferred_scheme(key) for key in ("prefix", "user")}
    names = schemes | {sysconfig.get_default_scheme()}
    return frozenset(sysconfig.get_path("scripts", name) for name in names)
