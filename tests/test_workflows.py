"""The workflows run the commands of this repository, and an issue template asks for what an
investigation needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parent.parent
WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES: Final = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def test_the_ci_workflow_runs_the_ci_script() -> None:
    assert ".ci/run" in [step.get("run") for step in steps(ROOT / ".github/workflows/ci.yml")]
    assert "make test\n" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_pins_actions_by_commit_and_runs_existing_targets(workflow: Path) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for step in steps(workflow):
        assert "uses" not in step or re.search(r"@[0-9a-f]{40}$", step["uses"])
        assert set(re.findall(r"make ([a-z0-9-]+)", step.get("run", ""))) <= set(targets)


def test_vulnerabilities_are_looked_up_every_week() -> None:
    workflow = ROOT / ".github/workflows/audit.yml"
    assert {"make audit", "make sbom"} <= {step.get("run") for step in steps(workflow)}
    assert re.search(r'schedule:\n    - cron: "\d+ \d+ \* \* [0-6]"', workflow.read_text())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_template_asks_for_the_wire_json_without_text(template: Path) -> None:
    fields = {field.get("id"): field for field in yaml.safe_load(template.read_text())["body"]}
    wire = fields["wire"]
    assert wire["attributes"]["label"].startswith("Wire JSON")
    assert "without text" in wire["attributes"]["label"]
    assert wire["validations"]["required"] is True


def test_there_is_a_template_for_each_kind_of_report() -> None:
    assert [path.stem for path in TEMPLATES] == ["missed-call-shape", "wrong-cause", "wrong-cost"]


def test_the_page_of_the_pytest_plugin_shows_the_workflow_of_its_example() -> None:
    workflow = (ROOT / "examples/ci/.github/workflows/prompt-cache.yml").read_text()
    assert workflow in (ROOT / "docs" / "ci.md").read_text()
    assert yaml.safe_load(workflow)["jobs"]["prompt-cache"]["steps"]
