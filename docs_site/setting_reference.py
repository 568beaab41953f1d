"""The reference of the settings, from the source of `promptcache.settings`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from promptcache import settings

_HEAD: Final = """\
# Settings

Settings are environment variables. In code: `Settings`, for
`PromptCacheInstrumentor().instrument(settings=...)`. A value that cannot be parsed never stops the
application: the default stays in force, and the log names the allowed values. `promptcache doctor`
names such values, and variables that are no setting.
"""


def render_settings_page() -> str:
    """Return the page, in Markdown."""
    entries = [f"## {name}\n\n{text}\n" for name, text in list_settings()]
    return "\n".join((_HEAD, *entries))


def list_settings() -> Iterator[tuple[str, str]]:
    """Yield each variable with its description: the string that follows its definition."""
    body = ast.parse(inspect.getsource(settings)).body
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ) if name.startswith("OTEL_PROMPTCACHE_"):
                yield name, inspect.cleandoc(text)
            case _:
                pass
