"""Render a template of the page. Every value is escaped unless this package made it as markup."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

LIVE_SCRIPT: Final = "live.js"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("promptcache_exporters.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
    )


@cache
def read_asset(name: str) -> str:
    """Return the text of a file beside the templates."""
    return (files("promptcache_exporters.page") / "templates" / name).read_text("utf-8")


def style_policy() -> Markup:
    """Return the policy of a file: nothing is fetched, nothing runs, only our style applies."""
    digest = hashlib.sha256(read_asset("style.css").encode()).digest()
    # Base64 and quotes only; escaped quotes would mean the same, but read worse.
    return Markup("default-src 'none'; style-src 'sha256-{}'").format(b64encode(digest).decode())


def render_template(name: str, **values: Any) -> str:
    """Return the page that a template makes of the values."""
    defaults = {"nonce": "", "policy": "", "links": (), "is_live": False, "filters": ()}
    style = _environment().from_string("{{ css|safe }}").render(css=read_asset("style.css"))
    template = _environment().get_template(f"{name}.html")
    return template.render(**(defaults | {"style": _as_markup(style)} | values))


def _as_markup(text: str) -> Markup:
    return Markup(text)  # noqa: S704  # a file of ours
