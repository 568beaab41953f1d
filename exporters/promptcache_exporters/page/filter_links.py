"""The links that choose what a page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from promptcache_exporters.report.format import format_name

FilterLink = tuple[str, str, bool]
"""A text, an address, and whether the choice is on."""


def make_address(path: str, parameters: Mapping[str, str]) -> str:
    """Return a path with its parameters."""
    return f"{path}?{urlencode(parameters)}" if parameters else path


def choice_links(
    path: str, parameters: Mapping[str, str], name: str, values: Iterable[str], default: str = ""
) -> list[FilterLink]:
    """Return one link for each value of a parameter. `default` is the text of the one without."""
    rest = {one: value for one, value in parameters.items() if one != name}
    chosen = parameters.get(name)
    links = [(default, make_address(path, rest), chosen is None)] if default else []
    return links + [
        (value, make_address(path, {**rest, name: value}), value == chosen) for value in values
    ]


def removing_links(
    path: str, parameters: Mapping[str, str], kept: Iterable[str]
) -> list[list[FilterLink]]:
    """Return a link for each parameter, which takes it away, but for those that are `kept`."""
    return [
        [
            (
                f"{name}: {format_name(value)} \N{MULTIPLICATION SIGN}",
                make_address(path, {one: parameters[one] for one in parameters if one != name}),
                True,
            )
        ]
        for name, value in parameters.items()
        if name not in kept
    ]
