"""The table of `make frameworks` fits its programs, and finds what it must find."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.frameworks.launch import LAUNCHES, MARK, PROGRAMS, Launch, Result, Row
from tests.frameworks.run import FRAMEWORKS

LAUNCH = Launch(("python", "app.py"), {("ask", "warden"): 2, ("stream", None): 3})
ROWS = [Row("ask", True, "warden")] * 2 + [Row("stream", True, None)] * 3


def list_launches() -> Iterator[tuple[str, Launch]]:
    for name, launches in LAUNCHES.items():
        for launch in launches:
            yield name, launch
            if launch.client is not None:
                yield name, launch.client


def marked_functions(program: Path) -> set[str]:
    """Return the functions of a program that have a marked line."""
    text = program.read_text(encoding="utf-8")
    marked = {n for n, line in enumerate(text.splitlines(), 1) if line.endswith(MARK)}
    return {
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and marked & set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    }


@pytest.mark.parametrize(("name", "launch"), list(list_launches()))
def test_each_expected_function_of_a_program_has_a_marked_line(name: str, launch: Launch) -> None:
    assert name in FRAMEWORKS
    files = [PROGRAMS / part.replace(":app", ".py") for part in launch.command]
    functions = [marked_functions(file) for file in files if file.suffix == ".py"]
    assert [function for function, _ in launch.calls if function] == [
        function for function, _ in launch.calls if function and function in functions[0]
    ]


def test_twelve_frameworks_are_launched() -> None:
    assert len(LAUNCHES) >= 12


@pytest.mark.parametrize(
    ("rows", "is_right"),
    [
        (ROWS, True),
        ([*ROWS[:4], Row(None, False, None)], True),  # 4 of 5 lines are enough
        ([*ROWS[:3], *[Row(None, False, None)] * 2], False),
        (ROWS[:4], False),  # a row is missing
        ([*ROWS, ROWS[0]], False),
        ([*ROWS[:4], Row("stream", False, None)], False),  # another line of the function
        ([*ROWS[:4], Row("main", True, None)], False),
        ([*ROWS[:4], Row("ask", True, None)], False),
        ([*ROWS[:4], Row("stream", True, "warden")], False),
    ],
)
def test_a_launch_is_right_if_all_rows_and_agents_and_most_lines_are(
    rows: list[Row], is_right: bool
) -> None:
    assert Result(LAUNCH, rows).is_right == is_right


def test_a_line_is_wrong_where_nothing_true_can_be_said() -> None:
    launch = replace(LAUNCH, calls={(None, None): 1})
    assert Result(launch, [Row(None, False, None)]).is_right
    assert not Result(launch, [Row("main", True, None)]).is_right
