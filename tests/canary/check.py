"""Whether the SDKs that are installed still have every function that we stand at.

    make canary

Prints a line a function, and exits with 1 where one is gone, also one that older releases lack: the first to know of a
new release that moved something is then us and not a user whose calls are no longer seen. Arguments are the
distributions to look at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import version
from inspect import getattr_static
from typing import Final

from promptcache.patching.hook import is_compatible
from promptcache.patching.registry import HOOK_MODULES, load_hooks

SDKS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "groq": "groq",
    "google-genai": "google.genai",
    "botocore": "botocore",
    "aiobotocore": "aiobotocore",
    "litellm": "litellm",
}
"""Distribution -> its package."""

LACKING: Final = frozenset(
    {"google.genai._interactions._base_client", "botocore.response.StreamingBody.aclose"}
)
"""What today's releases rightly lack: a module of google-genai 1 and 2, an async end of what is sync."""


def looked_for(sdks: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Every module and function in those distributions, and whether it is there, if only inherited."""
    ours = [
        name
        for sdk in sdks
        for name in HOOK_MODULES
        if name.startswith(f"{SDKS[sdk]}.") and name not in LACKING
    ]
    for name in ours:
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            yield name, False
            continue
        for target in load_hooks(name):
            where = f"{name}.{target.class_name}.{target.method_name}"
            found = getattr_static(
                getattr(module, target.class_name, object), target.method_name, None
            )
            if where not in LACKING:
                yield where, is_compatible(found, target)


def main(sdks: list[str]) -> int:
    print(", ".join(f"{sdk} {version(sdk)}" for sdk in sdks))
    found = list(looked_for(sdks))
    for where, there in found:
        print(f"{'ok   ' if there else 'MOVED'} {where}")
    return 0 if all(there for _, there in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [sdk for sdk in SDKS if sdk != "litellm"]))
