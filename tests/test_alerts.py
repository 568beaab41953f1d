"""One definition generates the alert files of all backends, and they name only promptcache's data.

tests/alerts_e2e and tests/collector load the files into the backends' own programs (`make`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.diagnosis.miss_reasons import MISS_REASONS
from promptcache.model import Call, Request, ResponseFacts, Usage, Verdict
from promptcache.semconv import (
    COUNTERS,
    HISTOGRAMS,
    PROMPTCACHE_ATTRIBUTES,
    SHORTFALL_TOKENS,
    STANDARD_ATTRIBUTES,
    shortfall_tokens,
)
from promptcache_exporters.alerts import datadog, honeycomb, newrelic, prometheus, promql, signoz
from promptcache_exporters.alerts.definition import (
    DEFAULT_DEFINITION,
    FIELD_RULES,
    GROUP_ATTRIBUTES,
    SERVICE_LABELS,
    AlertDefinition,
    parse_duration_seconds,
)
from promptcache_exporters.alerts.definition import METRICS_BY_NAME as CONTRACT
from promptcache_exporters.alerts.registry import BACKENDS, GENERATED_DIR, render_backend_files
from promptcache_exporters.alerts.terraform import render_terraform_json, resource_id_expression
from tests.support.span_builders import record_calls

ROOT = Path(__file__).parent.parent
OWN_ATTRIBUTES = {row.name for row in PROMPTCACHE_ATTRIBUTES} | {SHORTFALL_TOKENS}
METRIC_NAMES = {row.name for row in (*COUNTERS, *HISTOGRAMS)}
GENERATED_BACKENDS = tuple(name for name, row in BACKENDS.items() if row.has_committed_files)
UNTESTED_BACKENDS = ("honeycomb", "datadog", "newrelic", "signoz")


def run_alerts(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["alerts", *map(str, arguments)])


def render_files(backend: str, **options: Any) -> str:
    return "\n".join(render_backend_files(backend, AlertDefinition(**options)).values())


@pytest.mark.parametrize("backend", GENERATED_BACKENDS)
def test_the_committed_files_equal_the_generated_files(backend: str) -> None:
    for name, text in render_backend_files(backend, DEFAULT_DEFINITION).items():
        assert (GENERATED_DIR / name).read_text(encoding="utf-8") == text, "run make alerts"


def test_only_generated_files_are_committed() -> None:
    known = {
        name
        for backend in GENERATED_BACKENDS
        for name in render_backend_files(backend, DEFAULT_DEFINITION)
    }
    assert {
        str(path.relative_to(GENERATED_DIR)) for path in GENERATED_DIR.rglob("*") if path.is_file()
    } == known


@pytest.mark.parametrize("backend", GENERATED_BACKENDS)
def test_the_command_in_the_header_generates_the_same_file(backend: str, tmp_path: Path) -> None:
    options = [
        "--target",
        "0.7",
        "--for",
        "10m",
        "--by",
        "service,key:tenant",
        "--actionable",
        "--labels",
        "target_info",
    ]
    assert run_alerts(backend, *options, "--out", tmp_path).exit_code == ExitCode.OK
    (first, *_) = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    command = re.search(r"Made by: promptcache alerts ([^\"\n]*)", first.read_text())
    assert command
    second_folder = tmp_path / "second"
    assert run_alerts(*command[1].split(), "--out", second_folder).exit_code == ExitCode.OK
    assert (second_folder / first.relative_to(tmp_path)).read_bytes() == first.read_bytes()


@pytest.mark.parametrize("backend", GENERATED_BACKENDS)
def test_each_option_that_a_backend_supports_changes_its_files(backend: str) -> None:
    default_files = render_files(backend)
    options: dict[str, Any] = {"by": ("service",)}
    if backend != "collector":
        options |= {"actionable": True, "target": 0.6}
    if backend not in {"collector", "grafana"}:
        options |= {"window": "10m", "min_tokens": 5000, "runbooks": "https://wiki/x"}
    for name, value in options.items():
        assert text_without_header(render_files(backend, **{name: value})) != text_without_header(
            default_files
        ), name


def test_an_unsupported_option_changes_only_the_header() -> None:
    for backend in ("honeycomb", "datadog", "newrelic", "signoz", "collector"):
        assert text_without_header(
            render_files(backend, labels="target_info", drop=0.4)
        ) == text_without_header(render_files(backend))
    for name, value in {"actionable": True, "target": 0.6, "window": "10m", "budget": 2.0}.items():
        assert text_without_header(
            render_files("collector", **{name: value})
        ) == text_without_header(render_files("collector"))


def text_without_header(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "Made by" not in line)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "1.5"], "--target 1.5: allowed is a share"),
        (["--target", "50"], "0.5 is 50 %"),
        (["--target", "half"], "--target"),
        (["--target", "0"], "--target"),
        (["--window", "5"], "--window 5: allowed is a duration"),
        (["--for", "0m"], "--for 0m: allowed is a duration"),
        (["--min-tokens", "0"], "--min-tokens 0: allowed is a whole number"),
        (["--labels", "pod"], "job, service_name, target_info"),
        (["--by", "service,modle"], "service, model, response_model"),
        (["--by", "model,model"], "at most once"),
        (["--by", ""], "--by"),
        (["--budget", "-1"], "--budget"),
        (["--drop", "2"], "--drop"),
        (["--runbooks", "two words"], "--runbooks"),
    ],
)
def test_the_error_for_a_wrong_option_states_the_allowed_values(
    options: list[str], message: str
) -> None:
    result = run_alerts("prometheus", *options)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert message in re.sub(r"[│\s]+", " ", result.stderr)


@pytest.mark.parametrize("arguments", [["nagios"], []])
def test_the_error_for_a_wrong_backend_lists_all_backends(arguments: list[str]) -> None:
    result = run_alerts(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert all(name in result.stderr for name in BACKENDS)


def test_an_output_path_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    file_path = tmp_path / "file"
    file_path.write_text("a file")
    result = run_alerts("prometheus", "--out", file_path)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert "Not a directory" in re.sub(r"[│\s]+", " ", result.stderr)


def test_every_option_except_actionable_has_a_validation_rule() -> None:
    assert set(AlertDefinition.__dataclass_fields__) - set(FIELD_RULES) == {"actionable"}


def test_prometheus_needs_no_extra_and_grafana_names_the_missing_extra() -> None:
    code = (
        "import sys\nsys.modules['grafana_foundation_sdk'] = None\nsys.modules['yaml'] = None\n"
        "from typer.testing import CliRunner\nfrom promptcache.cli.commands import app\n"
        "def exit_code(name): return CliRunner().invoke(app, ['alerts', name]).exit_code\n"
        "print({name: exit_code(name) for name in ('prometheus', 'grafana')})\n"
        "print(CliRunner().invoke(app, ['alerts', 'grafana']).stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert process.stdout.startswith("{'prometheus': 0, 'grafana': 2}")
    assert "promptcache[alerts]" in process.stdout


def test_durations_are_parsed_into_seconds() -> None:
    assert [parse_duration_seconds(text) for text in ("30s", "5m", "1h", "2d")] == [
        30,
        300,
        3600,
        172800,
    ]


@pytest.mark.parametrize("labels", SERVICE_LABELS)
@pytest.mark.parametrize(
    "by", [("service", "model"), tuple(GROUP_ATTRIBUTES), ("model",), ("key:tenant.id",)]
)
def test_prometheus_rules_follow_the_naming_conventions(labels: str, by: tuple[str, ...]) -> None:
    (group,) = yaml.safe_load(render_files("prometheus", labels=labels, by=by))["groups"]
    records = [rule for rule in group["rules"] if "record" in rule]
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    assert all(re.fullmatch(r"\w+:\w+:\w+", rule["record"]) for rule in records)
    for rule in alerts:
        assert re.fullmatch(r"PromptCache([A-Z][a-z]+)+", rule["alert"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert len(alerts) == 7


def test_alerts_and_runbooks_match_one_to_one() -> None:
    (group,) = yaml.safe_load(render_files("prometheus"))["groups"]
    linked = {rule["annotations"]["runbook_url"] for rule in group["rules"] if "alert" in rule}
    runbooks = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert linked == runbooks - {"docs/runbooks/README.md"}


@pytest.mark.parametrize("backend", ["prometheus", "grafana"])
def test_promql_uses_only_metric_names_of_the_contract(backend: str) -> None:
    known = {promql.prometheus_series_name(name) for name in CONTRACT}
    names = set(re.findall(r"(?<![:\w])promptcache_\w+(?=[{\[ ])", render_files(backend)))
    names = {re.sub("_bucket$", "", name) for name in names}
    assert names
    assert names <= known | {"promptcache_outcome", "promptcache_miss_reason"}


def query_columns(query: Any) -> Iterator[str]:
    """Yield the columns that a Honeycomb query computes or filters, but not its group columns."""
    for part in (*query["calculations"], *query.get("filters", ())):
        yield from filter(None, [part.get("column")])
        yield from query_columns({"calculations": part.get("filters", [])})


def test_span_queries_read_only_attributes_of_promptcache() -> None:
    queries = [
        trigger["query"]
        for trigger in honeycomb.build_alternative_hit_rate_triggers(DEFAULT_DEFINITION).values()
    ]
    queries += [
        query for _, query in honeycomb.board_titles_and_queries(DEFAULT_DEFINITION).values()
    ]
    read = {column for query in queries for column in query_columns(query)}
    assert read <= OWN_ATTRIBUTES | {honeycomb.SHORTFALL_FIELD}
    assert (
        set(
            re.findall(
                r"\$([\w.]+)",
                honeycomb.token_shortfall_calculated_field(DEFAULT_DEFINITION)["expression"],
            )
        )
        <= OWN_ATTRIBUTES
    )
    assert "gen_ai.usage" not in "".join(render_files(backend) for backend in GENERATED_BACKENDS)


def test_triggers_stay_within_the_limits_of_honeycomb() -> None:
    for window in ("1m", "5m", "1h", "1d"):
        for trigger in honeycomb.build_alternative_hit_rate_triggers(
            AlertDefinition(window=window, for_duration="1h")
        ).values():
            query = trigger["query"]
            assert query["time_range"] <= 4 * trigger["frequency"]
            assert trigger["frequency"] % 60 == 0
            assert 1 <= trigger["threshold"]["exceeded_limit"] <= 5
            assert len(trigger["description"]) <= 1023
            assert not ("formulas" in query and "filters" in query), (
                "with formulas, each calculation has its own filters"
            )


def test_terraform_refers_only_to_resources_that_it_defines() -> None:
    text = render_backend_files("honeycomb", DEFAULT_DEFINITION)["honeycomb/promptcache.tf.json"]
    resources = json.loads(text)["resource"]
    defined = {f"{kind}.{name}" for kind, by_name in resources.items() for name in by_name}
    used = set(re.findall(r"\$\{(honeycombio_\w+\.\w+)\.id\}", text))
    assert used
    assert used <= defined


def test_terraform_contains_the_same_queries_as_the_api_file() -> None:
    text = render_backend_files("honeycomb", DEFAULT_DEFINITION)["honeycomb/promptcache.tf.json"]
    resources = json.loads(text)["resource"]["honeycombio_query"]
    terraform_queries = {name: json.loads(body["query_json"]) for name, body in resources.items()}
    queries = honeycomb.board_titles_and_queries(DEFAULT_DEFINITION)
    assert terraform_queries == {name: query for name, (_, query) in queries.items()}


def test_terraform_text_is_escaped_and_references_are_not() -> None:
    text = render_terraform_json(
        [],
        {},
        {
            "kind": {
                "name": {"text": "${a} %{if b}", "id": [resource_id_expression("kind", "other")]}
            }
        },
    )
    body = json.loads(text)["resource"]["kind"]["name"]
    assert body == {"text": "$${a} %%{if b}", "id": ["${kind.other.id}"]}


def test_a_generated_terraform_module_of_an_older_version_is_replaced(tmp_path: Path) -> None:
    old = tmp_path / "honeycomb" / "promptcache.tf"
    old.parent.mkdir()
    old.write_text("# Made by: promptcache alerts honeycomb --target 0.6\nresource ...")
    assert run_alerts("honeycomb", "--out", tmp_path).exit_code == ExitCode.OK
    assert sorted(path.name for path in old.parent.iterdir()) == ["api.json", "promptcache.tf.json"]


def test_nothing_is_written_beside_a_terraform_module_of_the_user(tmp_path: Path) -> None:
    old = tmp_path / "honeycomb" / "promptcache.tf"
    old.parent.mkdir()
    old.write_text("# Written by hand.\n")
    result = run_alerts("honeycomb", "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    message = re.sub(r"[│\s]+", " ", result.stderr)
    assert "Terraform would read each resource twice. Move or delete it" in message
    assert [path.name for path in old.parent.iterdir()] == ["promptcache.tf"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_help_describes_each_backend(backend: str) -> None:
    assert f"{backend}: {BACKENDS[backend].description}" in " ".join(
        run_alerts("--help").stdout.split()
    )
    assert render_backend_files(backend, DEFAULT_DEFINITION)


def test_the_makefile_generates_alerts_from_the_registry() -> None:
    assert "registry import regenerate_committed_files" in (ROOT / "Makefile").read_text()


def test_dotted_metric_names_are_names_of_the_contract() -> None:
    texts = [
        str(datadog.build_monitors_by_id(DEFAULT_DEFINITION)),
        str(newrelic.build_alert_conditions(DEFAULT_DEFINITION)),
        str(signoz.build_alert_rules(DEFAULT_DEFINITION)),
    ]
    for text in texts:
        names = set(re.findall(r"promptcache\.[a-z_.]+(?<!\.)", text))
        assert names & METRIC_NAMES
        assert names <= METRIC_NAMES | OWN_ATTRIBUTES


@pytest.mark.parametrize("backend", UNTESTED_BACKENDS)
def test_untested_backends_say_so_in_the_header_and_link_a_source(backend: str) -> None:
    for text in render_backend_files(backend, DEFAULT_DEFINITION).values():
        head = text[:800]
        assert "NOT RUN LIVE" in head
        assert re.search(r"\w+\.(com|io)/\S+", head)


@pytest.mark.parametrize("backend", [name for name in GENERATED_BACKENDS if name != "collector"])
def test_every_file_names_the_excluded_outcomes(backend: str) -> None:
    assert "below_minimum" not in render_files(backend)
    assert "below_minimum" in render_files(backend, actionable=True)
    assert "unreported" in render_files(backend)


def call_with_usage(read: int | None, tokens: int) -> Call:
    request = Request("openai", "openai", "chat", "m", None, None, False, {}, b"", 0.0)
    return Call(
        request,
        ResponseFacts(),
        Verdict("hit"),
        usage=Usage(tokens, tokens - (read or 0), read, None),
    )


@given(
    st.lists(
        st.integers(0, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        min_size=1,
    ),
    st.sampled_from([0.25, 0.5, 0.75]),
)
def test_the_summed_shortfall_is_positive_only_below_the_target_ratio(
    calls: list[tuple[int, int]], target: float
) -> None:
    shortfall = sum(
        shortfall_tokens(call_with_usage(read, tokens), target) or 0.0 for read, tokens in calls
    )
    read, tokens = (sum(column) for column in zip(*calls, strict=True))
    assert (shortfall > 0) == (tokens > 0 and read / tokens < target)


def test_a_call_without_reported_reads_has_no_shortfall() -> None:
    assert shortfall_tokens(call_with_usage(None, 1000), 0.5) is None


def test_dashboard_panels_have_unique_ids_known_variables_and_no_overlap() -> None:
    board = json.loads(render_files("grafana"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert {re.sub(r"[${}]", "", panel["datasource"]["uid"]) for panel in panels} <= names
    used = set(re.findall(r"\$(\w+)", "".join(str(panel["targets"]) for panel in panels)))
    assert used <= names | {"__rate_interval", "__from", "__to"}
    cells = [(x, y) for panel in panels for x, y in covered_cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells), "panels overlap"


def covered_cells(grid_position: dict[str, int]) -> Iterator[tuple[int, int]]:
    assert grid_position["x"] + grid_position["w"] <= 24
    return (
        (x, y)
        for x in range(grid_position["x"], grid_position["x"] + grid_position["w"])
        for y in range(grid_position["y"], grid_position["y"] + grid_position["h"])
    )


def test_the_collector_counts_spans_before_sampling() -> None:
    config = yaml.safe_load(
        render_backend_files("collector", DEFAULT_DEFINITION)["collector/promptcache.yaml"]
    )
    pipelines = config["service"]["pipelines"]
    assert "signal_to_metrics" in pipelines["traces"]["exporters"]
    assert not any("sampling" in name for name in pipelines["traces"]["processors"])
    metrics = config["connectors"]["signal_to_metrics"]["spans"]
    assert all(
        row["name"].startswith("promptcache.spans.") and row["sum"]["monotonic"] for row in metrics
    )
    assert all("AdjustedCount()" in row["sum"]["value"] for row in metrics)


def test_prometheus_rules_use_no_unreachable_burn_rate() -> None:
    # At a target of 50 % the burn rate cannot exceed 2. Rules with 14.4 and 6 would never fire.
    assert not re.search(r"14\.4|\b6 \*", text_without_header(render_files("prometheus")))
    assert prometheus.FILE_PATH in render_backend_files("prometheus", DEFAULT_DEFINITION)


def test_jaeger_searches_use_attributes_of_the_contract() -> None:
    tags = set(re.findall(r"([a-z_]+(?:\.[a-z_]+)+)=", (ROOT / "docs" / "jaeger.md").read_text()))
    assert len(tags) > 5
    assert tags <= OWN_ATTRIBUTES | {row.name for row in STANDARD_ATTRIBUTES}


def test_the_package_contains_the_runbooks_of_the_docs() -> None:
    runbooks = {
        f"runbooks/{path.name}": path.read_text()
        for path in (ROOT / "docs" / "runbooks").glob("*.md")
    }
    assert render_backend_files("runbooks", DEFAULT_DEFINITION) == runbooks


def test_runbook_links_begin_with_the_given_address() -> None:
    text = render_files("prometheus", runbooks="https://wiki.example.com/prompts/")
    (group,) = yaml.safe_load(text)["groups"]
    links = [rule["annotations"]["runbook_url"] for rule in group["rules"] if "alert" in rule]
    pages = {
        f"https://wiki.example.com/prompts/{name.partition('/')[2]}"
        for name in render_backend_files("runbooks", DEFAULT_DEFINITION)
    }
    assert set(links) < pages
    assert "--runbooks https://..." in render_files("prometheus")
    assert "--runbooks https://..." not in text


RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*-*.md"))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_all_sections_and_names_existing_reasons(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text()
    title = "PromptCache" + "".join(word.title() for word in path.stem.split("-"))
    assert text.startswith(f"# {title}\n")
    assert len(re.findall(r"^```(?:promql|sh)$", text, re.MULTILINE)) == 3
    assert "## Usual causes" in text
    reasons = {
        word
        for line in text.splitlines()
        if "reason `" in line
        for word in re.findall(r"`([a-z]+_[a-z_]+)`", line)
    }
    assert reasons <= {*MISS_REASONS, "not_requested"}
    record_calls(tmp_path / "promptcache.db", {})
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^promptcache (.*)$", text, re.MULTILINE):
        assert CliRunner().invoke(app, command.split()).exit_code in {
            ExitCode.OK,
            ExitCode.NO_CALLS,
        }, command


def test_the_commands_of_the_alerts_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = re.findall(
        r"^promptcache (alerts .*)$|`promptcache (alerts \w+)`",
        (ROOT / "docs" / "alerts.md").read_text(),
        re.M,
    )
    assert len(commands) > 4
    for command in (first or second for first, second in commands):
        assert CliRunner().invoke(app, command.split()).exit_code == ExitCode.OK, command
    assert (tmp_path / "deploy" / prometheus.FILE_PATH).is_file()
