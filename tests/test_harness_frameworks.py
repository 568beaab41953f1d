"""The program for a framework follows the plan. `make framework-layouts` runs it there."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from promptcache import Plan, PromptError
from promptcache.cli.commands import app
from promptcache.harness.frameworks.advice import Framework, write_framework_program
from tests.support.harness_world import GPT, HANDBOOK, OLD_GPT, support_prompt

SONNET = "claude-sonnet-4-6"
DAY = 1_795_737_600.0
ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "frameworks.md").read_text()


def plan(model: str, calls_per_hour: float = 30.0, **more: Any) -> Plan:
    return support_prompt().plan(model=model, calls_per_hour=calls_per_hour, at=DAY, **more)


@pytest.mark.parametrize("model", [SONNET, GPT, OLD_GPT])
@pytest.mark.parametrize("framework", get_args(Framework))
def test_each_program_is_valid_python_and_names_the_model(framework: str, model: str) -> None:
    if (framework, model) == ("openai-agents", SONNET):
        with pytest.raises(PromptError, match="openai-agents cannot mark prompts of claude"):
            write_framework_program(plan(model), framework)
        return
    program = write_framework_program(plan(model), framework)
    functions = {one.name for one in ast.parse(program).body if isinstance(one, ast.FunctionDef)}
    assert "lay_out" in functions
    assert model in program
    assert "$" not in program


@pytest.mark.parametrize("framework", ["langchain", "pydantic-ai"])
def test_the_program_has_the_ttls_of_the_plan(framework: str) -> None:
    slow = plan(SONNET, turn_gaps=[60.0] * 9, gaps=[900.0] * 9)
    assert dict(slow.ttls) == {"static": "1h", "history": "5m"}
    program = write_framework_program(slow, framework)
    assert '"1h"' in program
    assert '"5m"' in program
    fast = plan(SONNET, turn_gaps=[60.0] * 9, gaps=[60.0] * 9)
    assert '"1h"' not in write_framework_program(fast, framework)


def test_an_openai_program_has_the_cache_key() -> None:
    for framework in get_args(Framework):
        key = support_prompt().cache_key
        assert f'"{key}"' in write_framework_program(plan(GPT), framework)


@pytest.mark.parametrize(
    ("framework", "model", "rate", "words"),
    [
        ("rails", SONNET, 30, "for: is 'rails'; known are langchain, pydantic-ai, openai-agents"),
        ("langchain", SONNET, 0.01, "the plan does not cache: rare or unique"),
        ("langchain", "us.amazon.nova-pro-v1:0", 30, "cannot mark prompts of us.amazon.nova"),
    ],
)
def test_what_a_framework_cannot_do_is_refused(
    framework: str, model: str, rate: float, words: str
) -> None:
    with pytest.raises(PromptError, match=words):
        write_framework_program(plan(model, rate), framework)


def test_the_command_prints_a_program(tmp_path: Path) -> None:
    system = tmp_path / "system.txt"
    system.write_text(HANDBOOK)
    options = ["plan", SONNET, "--system", str(system), "--for", "pydantic-ai"]
    shown = CliRunner().invoke(app, options)
    assert shown.exit_code == 0
    assert "# prompt on claude-sonnet-4-6 (anthropic)" in shown.stdout
    ast.parse(shown.stdout)
    printed = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert shown.stdout.endswith(printed["program"])
    assert CliRunner().invoke(app, [*options[:-1], "rails"]).exit_code == 2


@pytest.mark.parametrize(
    ("framework", "model"), [("langchain", SONNET), ("pydantic-ai", SONNET), ("openai-agents", GPT)]
)
def test_the_page_shows_the_program_that_is_printed(framework: str, model: str) -> None:
    shown = plan(model, gaps=[60.0] * 9, turn_gaps=[60.0] * 9)
    program = write_framework_program(shown, framework)
    key = support_prompt().cache_key
    assert program.replace(key, "support-...") in PAGE
