"""Charts as inline SVG.

A chart has no text and no style of its own: it is stretched to the width of its place, and the page
writes the labels beside it. Only numbers of ours and escaped titles get into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

_WIDTH: Final = 1000.0
_HEIGHT: Final = 100.0


class ChartMark(NamedTuple):
    """A vertical line at a place from 0 to 1 of the width, with a title."""

    place: float
    title: str


class BarPart(NamedTuple):
    """A part of a bar: its share of the whole bar, the class of its colour, and a title."""

    share: float
    kind: str
    title: str


class StripBlock(NamedTuple):
    """A block of a prompt: its name, its share of the prompt, and where it begins (0 to 1)."""

    name: str
    share: float
    start: float


def draw_line_chart(
    values: Sequence[float | None],
    titles: Sequence[str],
    highest: float,
    kind: str,
    marks: Iterable[ChartMark] = (),
) -> Markup:
    """Return an area under a line. The line has a gap where a value is None."""
    shapes = [_draw_run(run, len(values), highest, kind) for run in _find_runs(values)]
    lines = [_draw_mark(mark) for mark in marks]
    return _wrap(_grid() + Markup("").join(shapes) + _hover(titles) + Markup("").join(lines))


def draw_column_chart(
    columns: Sequence[Sequence[tuple[float, str]]], titles: Sequence[str], highest: float
) -> Markup:
    """Return stacked columns. Each column is a list of amounts, each with the class of its
    colour."""
    step = _WIDTH / max(1, len(columns))
    parts: list[Markup] = []
    for number, column in enumerate(columns):
        top = _HEIGHT
        for amount, kind in column:
            height = _HEIGHT * amount / highest if highest else 0.0
            top -= height
            parts.append(
                Markup(
                    '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>'
                ).format(kind, number * step + step * 0.1, top, step * 0.8, height)
            )
    return _wrap(_grid() + Markup("").join(parts) + _hover(titles))


def draw_bar(parts: Iterable[BarPart]) -> Markup:
    """Return one horizontal bar. Shares that are together more than 1 are cut off."""
    return _wrap(_draw_parts(parts), "bar")


def _draw_parts(parts: Iterable[BarPart]) -> Markup:
    left = 0.0
    shapes: list[Markup] = []
    for part in parts:
        width = _WIDTH * max(0.0, part.share)
        shapes.append(
            Markup(
                '<rect class="{}" x="{:.2f}" y="0" width="{:.2f}" height="100"><title>{}</title>'
                "</rect>"
            ).format(part.kind, left, width, part.title)
        )
        left += width
    return Markup("").join(shapes)


def draw_strip(
    parts: Iterable[BarPart], blocks: Sequence[StripBlock], broken_at: float | None
) -> Markup:
    """Return a prompt: coloured parts, the edges of its blocks, and a line where it broke."""
    edges = [_draw_upright(block.start, 2, "edge") for block in blocks if block.start]
    hovers = [
        _draw_hover(block.start * _WIDTH, block.share * _WIDTH, f"{block.name}: {block.share:.1%}")
        for block in blocks
    ]
    line = [] if broken_at is None else [_draw_upright(min(0.994, broken_at), 6, "bad")]
    return _wrap(_draw_parts(parts) + Markup("").join([*edges, *hovers, *line]), "strip")


def _draw_upright(place: float, width: int, kind: str) -> Markup:
    return Markup('<rect class="{}" x="{:.2f}" y="0" width="{}" height="100"/>').format(
        kind, place * _WIDTH, width
    )


def _wrap(inner: Markup, kind: str = "chart") -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img">{}</svg>'
    ).format(kind, inner)


def _grid() -> Markup:
    lines = (f'<line class="grid" x1="0" x2="1000" y1="{y}" y2="{y}"/>' for y in (0.5, 50, 99.5))
    return Markup("".join(lines))  # noqa: S704  # numbers of ours


def _find_runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Return the stretches of values without a gap, with the place of each value."""
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]


def _draw_run(run: Sequence[tuple[int, float]], count: int, highest: float, kind: str) -> Markup:
    step = _WIDTH / count
    points = [
        ((place + 0.5) * step, _HEIGHT * (1 - min(1.0, value / highest if highest else 0.0)))
        for place, value in run
    ]
    if len(points) == 1:  # one value is a short line, else nobody would see it
        (x, y), half = points[0], step / 2
        points = [(x - half, y), (x + half, y)]
    line = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    area = f"{points[0][0]:.2f},100 {line} {points[-1][0]:.2f},100"
    return Markup(
        '<polygon class="area {0}" points="{1}"/><polyline class="line {0}" points="{2}"/>'
    ).format(kind, area, line)


def _hover(titles: Sequence[str]) -> Markup:
    step = _WIDTH / max(1, len(titles))
    return Markup("").join(
        _draw_hover(number * step, step, title) for number, title in enumerate(titles)
    )


def _draw_hover(left: float, width: float, title: str) -> Markup:
    return Markup(
        '<rect class="hover" x="{:.2f}" y="0" width="{:.2f}" height="100"><title>{}</title></rect>'
    ).format(left, width, title)


def _draw_mark(mark: ChartMark) -> Markup:
    x = f"{_WIDTH * min(1.0, max(0.0, mark.place)):.2f}"
    return Markup(
        '<line class="mark" x1="{0}" x2="{0}" y1="0" y2="100"><title>{1}</title></line>'
    ).format(x, mark.title)
