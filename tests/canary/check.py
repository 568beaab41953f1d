"""Whether the SDKs that are installed still have every function that we stand at.

    make canary

Prints a line a function, and exits with 1 where one is gone that is not optional: the first to know of a new release
that moved something is then us and not a user whose calls are no longer seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version

from promptcache.patch.drive import fits
from promptcache.patch.sdks import CHOKES, ROWS, targets

SDKS = ("openai", "anthropic", "groq", "google-genai", "botocore", "aiobotocore")


def looked_for() -> Iterator[tuple[str, bool]]:
    """Every module and function, and whether it is there; what is optional only where it is."""
    for name in ROWS:
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            if name in CHOKES.values() or name.startswith(("botocore", "aiobotocore")):
                yield name, False
            continue
        for target in targets(name):
            found = vars(getattr(module, target.owner, object)).get(target.name)
            there = fits(found, target)
            if there or not target.optional:
                yield f"{name}.{target.owner}.{target.name}", there


def main() -> int:
    print(", ".join(f"{sdk} {version(sdk)}" for sdk in SDKS))
    found = list(looked_for())
    for where, there in found:
        print(f"{'ok   ' if there else 'MOVED'} {where}")
    return 0 if all(there for _, there in found) else 1


if __name__ == "__main__":
    sys.exit(main())
