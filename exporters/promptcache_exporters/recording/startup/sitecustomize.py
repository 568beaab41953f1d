"""Start promptcache in every Python process below `promptcache run` or `promptcache check`.

The folder of this file is on PYTHONPATH, so that Python imports it at its start. It hides from the
application: the folder leaves `sys.path`, and the `sitecustomize` that Python would have imported
is imported too.
"""

from __future__ import annotations

import importlib
import os
import sys


def _start() -> None:
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)
        _start_promptcache()


def _start_promptcache() -> None:
    module, function = _CHECK if _is_checked else _RECORDING
    try:
        start = getattr(importlib.import_module(module), function)
    except ImportError:  # a Python without promptcache, below one that has it
        return
    start()


_RECORDING = ("promptcache_exporters.recording.program", "start_recording")
_CHECK = ("promptcache_testing.program_run.program_process", "start_program_process")
_is_checked = bool(os.environ.get("PROMPTCACHE_CHECK"))

if _is_checked or os.environ.get("PROMPTCACHE_RUN"):
    _start()
