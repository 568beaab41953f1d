"""Start recording in every Python process below `promptcache run`.

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
        _record()


def _record() -> None:
    try:
        from promptcache_exporters.recording.program import start_recording
    except ImportError:  # a Python without promptcache, below one that has it
        return
    start_recording()


if os.environ.get("PROMPTCACHE_RUN"):
    _start()
