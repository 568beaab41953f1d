"""Call a method in every forked child: a child must not use the locks of its parent."""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod


def register_after_fork_in_child(method: Callable[[], None]) -> None:
    """Register the bound method `method` to run in each forked child while its object is alive.

    Python offers no way to remove a fork hook, so the hook holds the object by a weak reference.
    Does nothing on a platform without `fork`.
    """
    if not hasattr(os, "register_at_fork"):
        return
    reference = WeakMethod(method)

    def run() -> None:
        alive = reference()
        if alive is not None:
            alive()

    os.register_at_fork(after_in_child=run)
