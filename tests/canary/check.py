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

EXPECTED_MISSING: Final = frozenset(
    {"google.genai._interactions._base_client", "botocore.response.StreamingBody.aclose"}
)
"""What today's releases rightly lack: a module of google-genai 1 and 2, an async end of what is sync."""


def find_hooks(sdks: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Every module and function in those distributions, and whether it is there, if only inherited."""
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
        for hook in load_hooks(name):
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
