"""Hooks of MkDocs: pages that are made at build time, and links that work on the site."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from mkdocs.structure.files import File, Files

from docs_site.command_reference import render_commands_page
from docs_site.provider_tables import render_providers_page
from docs_site.repository_links import ROOT, ROOT_PAGES, rewrite_links
from docs_site.setting_reference import render_settings_page

log = logging.getLogger("mkdocs.docs_site")  # a warning there fails a strict build

GENERATED_PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "providers.md": render_providers_page,
    "reference/commands.md": render_commands_page,
    "reference/settings.md": render_settings_page,
}
_SOURCES: Final = {
    page: source for source, page in ROOT_PAGES.items() if not (ROOT / "docs" / page).exists()
}
"""Pages of the site that are files at the root of the repository."""

_FOREIGN_ADDRESS: Final = re.compile(
    r'<(?:script|link|img|source|iframe)\b[^>]*\b(?:src|srcset|href)="?(https?:[^" >]+)'
)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    pages = {page: write() for page, write in GENERATED_PAGES.items()}
    pages |= {page: (ROOT / source).read_text("utf-8") for page, source in _SOURCES.items()}
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Return the text of a page with its links as the site needs them."""
    name = page.file.src_uri
    if name in GENERATED_PAGES:
        return markdown
    return rewrite_links(markdown, _SOURCES.get(name, f"docs/{name}"), name, log.warning)


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Warn where a page would load something from elsewhere, such as the theme's fonts."""
    for address in _FOREIGN_ADDRESS.findall(output):
        log.warning("%s loads %s", page.file.src_uri, address)
    return output
