"""Make the links of a page work on the site: links to files of the repository, and to folders."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
ROOT_PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files at the root of the repository, with their pages on the site."""
_LINK: Final = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_IMAGE: Final = re.compile(r'(?P<attribute>src|srcset)="(?P<target>[^":]+)"')
_FENCE: Final = re.compile(r"(^```.*?^```\n?)", re.MULTILINE | re.DOTALL)


def rewrite_links(text: str, source: str, page: str, warn: Callable[[str], None]) -> str:
    """Return the Markdown `text` with the links that it needs on the site.

    source: the file in the repository, `docs/ci.md`. page: its page on the site, `ci.md`. A link to
    a file that has no page becomes the path of the file. `warn` gets the links to nothing.
    """

    def rewrite_link(match: re.Match[str]) -> str:
        label, target = match["text"], match["target"]
        if re.match(r"\w+:|#", target):
            return match[0]
        path, hash_sign, anchor = target.partition("#")
        found = _find_file(path, source)
        if found is None:
            warn(f"{source} links to {target}, which is not in the repository")
            return label
        if (site_page := _find_page(found)) is None:
            return f"{label} (`{found}`)" if label.strip("`") != found else label
        return f"[{label}]({_relative(site_page, page)}{hash_sign}{anchor})"

    def rewrite_image(match: re.Match[str]) -> str:
        found = _find_file(match["target"], source)
        if found is None or not found.startswith("docs/"):
            warn(f"{source} shows {match['target']}, which is not in docs/")
            return match[0]
        return f'{match["attribute"]}="{_relative(found.removeprefix("docs/"), page)}"'

    parts = _FENCE.split(text)  # the odd parts are code
    for number in range(0, len(parts), 2):
        parts[number] = _IMAGE.sub(rewrite_image, _LINK.sub(rewrite_link, parts[number]))
    return "".join(parts)


def _find_file(target: str, source: str) -> str | None:
    """Return the path in the repository that a link names, None if there is nothing."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return path if not path.startswith("..") and (ROOT / path).exists() else None


def _find_page(path: str) -> str | None:
    """Return the page that shows a file or folder of the repository, None without one."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if (ROOT / path).is_dir():
        path += "/README.md"
    is_page = path.startswith("docs/") and path.endswith(".md") and (ROOT / path).exists()
    return path.removeprefix("docs/") if is_page else None


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
