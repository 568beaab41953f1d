"""Names of models and services are hostile input: no name spoils the screen."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from promptcache.semconv import GEN_AI_REQUEST_MODEL
from promptcache_exporters.page.html_file import render_html
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.format import MAX_NAME_WIDTH, format_name
from promptcache_exporters.report.query import collect_report
from tests.support.report_text import render_report
from tests.support.span_builders import record_calls

COMBINING_ACUTE: Final = "\u0301"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("gpt-5.4", "gpt-5.4"),
        ("моделÿ 模型 हिन्दी", "моделÿ 模型 हिन्दी"),
        ("a\u202eb", "a\\u202eb"),
        ("a\x1bb\n", "a\\x1bb\\x0a"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("", '""'),
        ("  ", '"  "'),
        ("e" + COMBINING_ACUTE, "e" + COMBINING_ACUTE),
        ("e" + COMBINING_ACUTE * 4, "e" + COMBINING_ACUTE * 2 + "\\u0301" * 2),
        (COMBINING_ACUTE + "e", "\\u0301e"),
        ("\\u202e", "\\u202e"),
    ],
)
def test_a_name_is_shown_without_what_spoils_the_screen(name: str, shown: str) -> None:
    assert format_name(name) == shown


def test_a_long_name_is_cut_in_the_middle() -> None:
    shown = format_name("prefix-" + "x" * 2000 + "-suffix")
    assert len(shown) == MAX_NAME_WIDTH
    assert shown.startswith("prefix-x")
    assert "x…x" in shown
    assert shown.endswith("x-suffix")
    assert format_name("y" * MAX_NAME_WIDTH) == "y" * MAX_NAME_WIDTH


def test_an_escape_is_never_cut() -> None:
    shown = format_name("\u202e" * 500)
    assert set(shown.replace("\\u202e", "")) == {"…"}


@given(st.text(st.characters(codec=None), max_size=400))
def test_every_name_fits_and_moves_nothing(name: str) -> None:
    shown = format_name(name)
    assert shown.strip()
    assert cell_len(shown) <= MAX_NAME_WIDTH
    assert shown.isprintable()
    assert not unicodedata.combining(shown[0])


def test_a_report_shows_odd_names_in_few_lines(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    names = ["", "x" * 1024, "a" + COMBINING_ACUTE * 50, "b\u202e"]
    record_calls(path, *({GEN_AI_REQUEST_MODEL: name} for name in names))
    report = collect_report(path, GroupBy.MODEL)
    text, page = render_report(report), render_html(report)
    assert len(text.splitlines()) < 30
    for shown in ('""', "\\u202e"):
        assert shown in text
    assert "\\u202e" in page
    assert "x" * 200 not in page
