"""The site of the documentation: its generated pages are complete, and a broken link is found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from docs_site.command_reference import render_commands_page
from docs_site.provider_tables import render_providers_page
from docs_site.repository_links import rewrite_links
from docs_site.screenshots import MAX_BYTES
from docs_site.setting_reference import list_settings, render_settings_page
from promptcache import settings
from promptcache.cli.commands import COMMANDS
from promptcache.providers.registry import PROVIDERS

ROOT: Final = Path(__file__).parent.parent


def rewrite(text: str, source: str, page: str) -> tuple[str, list[str]]:
    """Return the text as the site shows it, and the warnings, which fail a strict build."""
    warnings: list[str] = []
    return rewrite_links(text, source, page, warnings.append), warnings


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[ci](docs/ci.md#lock)", "[ci](ci.md#lock)"),
        ("[runbooks](docs/runbooks/)", "[runbooks](runbooks/README.md)"),
        ("[changes](CHANGELOG.md)", "[changes](changelog.md)"),
        ("[the example](examples/ci)", "the example (`examples/ci`)"),
        ("[`examples/ci`](examples/ci)", "`examples/ci`"),
        ("[spec](https://opentelemetry.io)", "[spec](https://opentelemetry.io)"),
        ("[below](#limits)", "[below](#limits)"),
        ("```py\ntable[1](docs/nothing.md)\n```\n", "```py\ntable[1](docs/nothing.md)\n```\n"),
    ],
)
def test_links_of_the_readme_lead_to_pages_of_the_site(link: str, expected: str) -> None:
    assert rewrite(link, "README.md", "index.md") == (expected, [])


def test_links_between_folders_are_relative_to_their_page() -> None:
    text = "[start](../../README.md) [price table](../decisions/price-table.md)"
    expected = "[start](../index.md) [price table](../decisions/price-table.md)"
    assert rewrite(text, "docs/runbooks/README.md", "runbooks/README.md") == (expected, [])


@pytest.mark.parametrize(
    "text", ["[gone](docs/gone.md)", "[outside](../other/file.md)", '<img src="docs/gone.png">']
)
def test_a_link_to_nothing_is_a_warning(text: str) -> None:
    _, warnings = rewrite(text, "README.md", "index.md")
    assert len(warnings) == 1


def test_every_command_is_on_the_page_of_commands_with_its_options() -> None:
    page = render_commands_page()
    assert re.findall(r"^## promptcache (\S+)$", page, re.MULTILINE) == [*COMMANDS]
    assert "### promptcache prices show" in page
    report = page.partition("## promptcache report")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(--[a-z-]+)", report, re.MULTILINE)) >= {
        *("--by", "--since", "--until", "--where", "--every", "--json", "--csv", "--html"),
        *("--watch", "--fail-below", "--limit", "--from"),
    }
    assert "```sh\npromptcache report --by model --since 2h\n" in report
    assert "- 1  the hit rate is below --fail-below" in report


def test_every_setting_is_on_the_page_of_settings_and_in_the_readme() -> None:
    defined = {name for name in vars(settings) if name.startswith("OTEL_PROMPTCACHE_")}
    page, readme = render_settings_page(), (ROOT / "README.md").read_text()
    assert {name for name, _ in list_settings()} == defined
    assert set(re.findall(r"^## (\w+)\n\n\S", page, re.MULTILINE)) - {"Settings"} == defined
    assert set(re.findall(r"`(OTEL_PROMPTCACHE_\w+)`", readme)) == defined


def test_every_provider_is_on_the_page_of_providers() -> None:
    named = re.findall(r"^\| `([^`]+)` \| ", render_providers_page().partition("## ")[0], re.M)
    assert named == [provider.name for provider in PROVIDERS]


def test_every_page_of_docs_has_a_place_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if not re.search(rf"\b{page}$", navigation, re.M)] == []


def test_every_picture_is_small_and_shown() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "README.md", ROOT / "docs" / "page.md"))
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size <= MAX_BYTES
        assert f"images/{picture.name}" in pages
