"""promtool tests every rule. Each test case fails when its rule is changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from promptcache_exporters.alerts import prometheus
from promptcache_exporters.alerts.definition import SERVICE_LABELS, AlertDefinition
from tests.alerts_e2e.programs import find_program

CASES = Path(__file__).parent / "cases"
DEFINITION_BY_CASE = {
    "actionable": AlertDefinition(actionable=True),
    "target_info": AlertDefinition(labels="target_info"),
}
"""Alert definitions of the cases that do not use the default."""

MUTATIONS = [
    ("hit_rate_low", " < 0.5\n", " < 0.05\n"),
    ("hit_rate_low", "for: 5m", "for: 1m"),
    ("hit_rate_low", "sum by (job, gen_ai_request_model)", "sum by (job)"),
    ("nothing_ever_read", "or\n          0 * job_model:promptcache_input_tokens:increase5m", ""),
    ("low_traffic", ">= 100000", ">= 0"),
    (
        "counter_reset",
        "increase(promptcache_read_tokens_total",
        "delta(promptcache_read_tokens_total",
    ),
    ("counter_reset", "min_over_time(promptcache_read", "0 * min_over_time(promptcache_read"),
    ("left_out", 'promptcache_outcome!="unreported"', 'promptcache_outcome!=""'),
    ("left_out", 'promptcache_batch!~"(?i:true)"', 'promptcache_batch!="true"'),
    ("left_out", 'promptcache_batch!~"(?i:true)"', 'promptcache_batch=~"(?i:false)"'),
    ("hit_rate_low_for_long", "ratio_1h < 0.5", "ratio_1h < 0.1"),
    ("hit_rate_low_for_long", "increase1h >= 100000", "increase5m >= 100000"),
    ("hit_rate_dropped", "> 0.2", "> -1"),
    ("hit_rate_dropped", "> 0.2", "> 0.4"),
    ("hit_rate_dropped", " offset 1d - ", " offset 1h - "),
    ("hit_rate_dropped", "increase1h >= 100000\n          and", "increase1h >= 0\n          and"),
    ("hit_rate_dropped", "offset 1d >= 100000", "offset 1d >= 0"),
    ("telemetry_missing", "unless", "and"),
    ("telemetry_missing", "for: 10m", "for: 30m"),
    ("usage_unreported", "> 0.5", "> 0.2"),
    ("usage_unreported", ">= 20", ">= 0"),
    ("waste_above_budget", "> 10\n", "> 13\n"),
    ("waste_above_budget", "> 10\n", "> 5\n"),
    ("first_waste", "label_replace(min_over_time", "label_replace(0 * min_over_time"),
    ("first_waste", "count(up offset 1h)", "vector(1)"),
    ("first_waste", "[1h] offset 1h)", "[1m] offset 1h)"),
    ("first_waste", "increase(promptcache_wasted", "0 * increase(promptcache_wasted"),
    ("seen_once", "label_replace(min_over_time", "label_replace(0 * min_over_time"),
    (
        "writes_never_read",
        'write_tokens_total{promptcache_batch!~"(?i:true)"}',
        "write_tokens_total",
    ),
    ("writes_never_read", ">= 100000\n          unless", ">= 0\n          unless"),
    ("writes_never_read", ">= 0.1 *", ">= 0.9 *"),
    ("actionable", "|below_minimum|prewarm", ""),
    ("target_info", "max by (job, instance, service_name) (target_info)", "target_info"),
]
"""A case, and a replacement in the rules that must make it fail."""


def render_rules(case: str) -> str:
    return prometheus.render_files_by_path(DEFINITION_BY_CASE.get(case, AlertDefinition()))[
        prometheus.FILE_PATH
    ]


def run_promtool_test(case: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(text)
    shutil.copy(CASES / f"{case}.yaml", folder)
    return run(find_program("promtool"), "test", "rules", str(folder / f"{case}.yaml"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("case", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_rules_pass_their_test_cases(case: str, tmp_path: Path) -> None:
    process = run_promtool_test(case, render_rules(case), tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize(("case", "old", "new"), MUTATIONS)
def test_a_mutated_rule_fails_its_test_case(case: str, old: str, new: str, tmp_path: Path) -> None:
    original = render_rules(case)
    assert old in original
    broken = original.replace(old, new)
    (tmp_path / "broken.yaml").write_text(broken)
    assert (
        run(find_program("promtool"), "check", "rules", str(tmp_path / "broken.yaml")).returncode
        == 0
    ), "the changed file must still be valid"
    assert "FAILED" in run_promtool_test(case, broken, tmp_path).stderr


def test_every_alert_has_a_case_that_expects_it() -> None:
    names = [line.split()[-1] for line in render_rules("").splitlines() if "- alert:" in line]
    cases = "".join(path.read_text() for path in CASES.glob("*.yaml"))
    assert names
    assert not [name for name in names if f"alertname: {name}\n        eval_time" not in cases]


@pytest.mark.parametrize("labels", SERVICE_LABELS)
@pytest.mark.parametrize("actionable", [False, True])
def test_promtool_and_vmalert_accept_every_option(
    labels: str, actionable: bool, tmp_path: Path
) -> None:
    definition = AlertDefinition(
        labels=labels, actionable=actionable, by=("service", "model", "key:tenant.id")
    )
    path = tmp_path / "rules.yaml"
    path.write_text(prometheus.render_files_by_path(definition)[prometheus.FILE_PATH])
    process = run(find_program("promtool"), "check", "rules", str(path))
    assert process.returncode == 0, process.stderr
    process = run(find_program("vmalert"), "-dryRun", "-rule", str(path))
    assert process.returncode == 0, process.stderr


def test_vmalert_refuses_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(render_rules("").replace("sum by (job", "sum by ((job", 1))
    assert run(find_program("vmalert"), "-dryRun", "-rule", str(path)).returncode != 0
