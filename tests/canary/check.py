"""Check that the installed SDKs still have every function that promptcache wraps.

    make canary

Prints a line for each function. Exits with 1 if one is missing, also one that older releases lack.
So we notice a new release that moved a function before users lose their calls. The arguments are
the distributions to check.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import version
from inspect import getattr_static
from typing import Final

from promptcache.patching.hook import is_compatible
from promptcache.patching.registry import HOOK_MODULES, import_hooks

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

EXPECTED_MISSING: Final = frozenset(
    {"google.genai._interactions._base_client", "botocore.response.StreamingBody.aclose"}
)
"""Names that the current releases rightly lack.

A module of google-genai 1 and 2, and an asynchronous close of a synchronous stream.
"""


def find_hooks(sdks: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yield each hooked module and function, and whether it exists and is compatible."""
    module_names = [
        name
        for sdk in sdks
        for name in HOOK_MODULES
        if name.startswith(f"{SDKS[sdk]}.") and name not in EXPECTED_MISSING
    ]
    for name in module_names:
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            yield name, False
            continue
        for hook in import_hooks(name):
            hook_name = f"{name}.{hook.class_name}.{hook.method_name}"
            function = getattr_static(
                getattr(module, hook.class_name, object), hook.method_name, None
            )
            if hook_name not in EXPECTED_MISSING:
                yield hook_name, is_compatible(function, hook)


def main(sdks: list[str]) -> int:
    print(", ".join(f"{sdk} {version(sdk)}" for sdk in sdks))
    hooks = list(find_hooks(sdks))
    for hook_name, is_hook_compatible in hooks:
        print(f"{'ok   ' if is_hook_compatible else 'MOVED'} {hook_name}")
    return 0 if all(is_hook_compatible for _, is_hook_compatible in hooks) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [sdk for sdk in SDKS if sdk != "litellm"]))
