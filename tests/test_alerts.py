"""Alerts and views: one definition, files that are the same for the same options, and nothing that is not ours in them.

What the backends' own programs say of them: tests/alerts_e2e and tests/collector, run by `make`.
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
    parse_duration,
)
from promptcache_exporters.alerts.definition import METRICS_BY_NAME as CONTRACT
from promptcache_exporters.alerts.registry import BACKENDS, GENERATED_DIR, generate_files
from promptcache_exporters.alerts.terraform import reference, render_terraform
from tests.support.span_builders import record

ROOT = Path(__file__).parent.parent
OURS = {row.name for row in PROMPTCACHE_ATTRIBUTES} | {SHORTFALL_TOKENS}
METRICS = {row.name for row in (*COUNTERS, *HISTOGRAMS)}
MADE_OF_OPTIONS = tuple(name for name, row in BACKENDS.items() if row.has_committed_files)
UNTRIED = ("honeycomb", "datadog", "newrelic", "signoz")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["alerts", *map(str, arguments)])


def made(backend: str, **options: Any) -> str:
    return "\n".join(generate_files(backend, AlertDefinition(**options)).values())


@pytest.mark.parametrize("backend", MADE_OF_OPTIONS)
def test_the_committed_files_are_those_of_the_definition(backend: str) -> None:
    for name, text in generate_files(backend, DEFAULT_DEFINITION).items():
        assert (GENERATED_DIR / name).read_text(encoding="utf-8") == text, "make alerts"


def test_nothing_else_is_committed() -> None:
    known = {
        name for backend in MADE_OF_OPTIONS for name in generate_files(backend, DEFAULT_DEFINITION)
    }
    assert {
        str(path.relative_to(GENERATED_DIR)) for path in GENERATED_DIR.rglob("*") if path.is_file()
    } == known


@pytest.mark.parametrize("backend", MADE_OF_OPTIONS)
def test_the_head_says_how_to_make_it_again(backend: str, tmp_path: Path) -> None:
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
    assert run(backend, *options, "--out", tmp_path).exit_code == ExitCode.OK
    (first, *_) = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    found = re.search(r"Made by: promptcache alerts ([^\"\n]*)", first.read_text())
    assert found
    again = tmp_path / "again"
    assert run(*found[1].split(), "--out", again).exit_code == ExitCode.OK
    assert (again / first.relative_to(tmp_path)).read_bytes() == first.read_bytes()


@pytest.mark.parametrize("backend", MADE_OF_OPTIONS)
def test_every_option_that_a_backend_can_heed_changes_its_files(backend: str) -> None:
    usual = made(backend)
    options: dict[str, Any] = {"by": ("service",)}
    if backend != "collector":
        options |= {"actionable": True, "target": 0.6}
    if backend not in {"collector", "grafana"}:
        options |= {"window": "10m", "min_tokens": 5000, "runbooks": "https://wiki/x"}
    for name, value in options.items():
        assert _body(made(backend, **{name: value})) != _body(usual), name


def test_an_option_without_use_changes_only_the_head() -> None:
    for backend in ("honeycomb", "datadog", "newrelic", "signoz", "collector"):
        assert _body(made(backend, labels="target_info", drop=0.4)) == _body(made(backend))
    for name, value in {"actionable": True, "target": 0.6, "window": "10m", "budget": 2.0}.items():
        assert _body(made("collector", **{name: value})) == _body(made("collector"))


def _body(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "Made by" not in line)


@pytest.mark.parametrize(
    ("options", "words"),
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
def test_a_wrong_option_says_what_is_allowed(options: list[str], words: str) -> None:
    result = run("prometheus", *options)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert words in re.sub(r"[│\s]+", " ", result.stderr)


@pytest.mark.parametrize("arguments", [["nagios"], []])
def test_a_wrong_backend_says_which_there_are(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert all(name in result.stderr for name in BACKENDS)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    result = run("prometheus", "--out", taken)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert "Not a directory" in re.sub(r"[│\s]+", " ", result.stderr)


def test_every_option_is_checked() -> None:
    assert set(AlertDefinition.__dataclass_fields__) - set(FIELD_RULES) == {"actionable"}


def test_prometheus_needs_no_extra_and_grafana_names_it() -> None:
    code = (
        "import sys\nsys.modules['grafana_foundation_sdk'] = None\nsys.modules['yaml'] = None\n"
        "from typer.testing import CliRunner\nfrom promptcache.cli.commands import app\n"
        "codes = {name: CliRunner().invoke(app, ['alerts', name]).exit_code for name in ('prometheus', 'grafana')}\n"
        "print(codes)\n"
        "print(CliRunner().invoke(app, ['alerts', 'grafana']).stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )  # our own code
    assert done.stdout.startswith("{'prometheus': 0, 'grafana': 2}")
    assert "promptcache[alerts]" in done.stdout


def test_durations() -> None:
    assert [parse_duration(text) for text in ("30s", "5m", "1h", "2d")] == [30, 300, 3600, 172800]


@pytest.mark.parametrize("labels", SERVICE_LABELS)
@pytest.mark.parametrize(
    "by", [("service", "model"), tuple(GROUP_ATTRIBUTES), ("model",), ("key:tenant.id",)]
)
def test_rules_are_yaml_after_the_conventions(labels: str, by: tuple[str, ...]) -> None:
    (group,) = yaml.safe_load(made("prometheus", labels=labels, by=by))["groups"]
    records = [rule for rule in group["rules"] if "record" in rule]
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    assert all(re.fullmatch(r"\w+:\w+:\w+", rule["record"]) for rule in records)
    for rule in alerts:
        assert re.fullmatch(r"PromptCache([A-Z][a-z]+)+", rule["alert"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert len(alerts) == 7


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    (group,) = yaml.safe_load(made("prometheus"))["groups"]
    linked = {rule["annotations"]["runbook_url"] for rule in group["rules"] if "alert" in rule}
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert linked == there - {"docs/runbooks/README.md"}


@pytest.mark.parametrize("backend", ["prometheus", "grafana"])
def test_prometheus_names_are_those_of_the_contract(backend: str) -> None:
    known = {promql.series_name(name) for name in CONTRACT}
    found = set(re.findall(r"(?<![:\w])promptcache_\w+(?=[{\[ ])", made(backend)))
    found = {re.sub("_bucket$", "", name) for name in found}
    assert found
    assert found <= known | {"promptcache_outcome", "promptcache_miss_reason"}


def columns(query: Any) -> Iterator[str]:
    """The columns that a Honeycomb query computes with or filters by; what it groups by is another matter."""
    for part in (*query["calculations"], *query.get("filters", ())):
        yield from filter(None, [part.get("column")])
        yield from columns({"calculations": part.get("filters", [])})


def test_span_queries_read_only_our_own_counts() -> None:
    queries = [
        trigger["query"] for trigger in honeycomb.build_triggers(DEFAULT_DEFINITION).values()
    ]
    queries += [query for _, query in honeycomb.board_queries(DEFAULT_DEFINITION).values()]
    read = {column for query in queries for column in columns(query)}
    assert read <= OURS | {honeycomb.SHORTFALL_FIELD}
    assert (
        set(re.findall(r"\$([\w.]+)", honeycomb.shortfall_field(DEFAULT_DEFINITION)["expression"]))
        <= OURS
    )
    assert "gen_ai.usage" not in "".join(made(backend) for backend in MADE_OF_OPTIONS)


def test_a_trigger_obeys_the_limits_of_honeycomb() -> None:
    for window in ("1m", "5m", "1h", "1d"):
        for trigger in honeycomb.build_triggers(
            AlertDefinition(window=window, for_duration="1h")
        ).values():
            query = trigger["query"]
            assert query["time_range"] <= 4 * trigger["frequency"]
            assert trigger["frequency"] % 60 == 0
            assert 1 <= trigger["threshold"]["exceeded_limit"] <= 5
            assert len(trigger["description"]) <= 1023
            assert not ("formulas" in query and "filters" in query), (
                "named calculations filter each for itself"
            )


def test_terraform_names_only_what_it_defines() -> None:
    text = generate_files("honeycomb", DEFAULT_DEFINITION)["honeycomb/promptcache.tf.json"]
    resources = json.loads(text)["resource"]
    defined = {f"{kind}.{name}" for kind, by_name in resources.items() for name in by_name}
    used = set(re.findall(r"\$\{(honeycombio_\w+\.\w+)\.id\}", text))
    assert used
    assert used <= defined


def test_terraform_has_the_queries_of_the_api() -> None:
    text = generate_files("honeycomb", DEFAULT_DEFINITION)["honeycomb/promptcache.tf.json"]
    resources = json.loads(text)["resource"]["honeycombio_query"]
    found = {name: json.loads(body["query_json"]) for name, body in resources.items()}
    queries = honeycomb.board_queries(DEFAULT_DEFINITION)
    assert found == {name: query for name, (_, query) in queries.items()}


def test_terraform_evaluates_references_only() -> None:
    text = render_terraform(
        [], {}, {"kind": {"name": {"text": "${a} %{if b}", "id": [reference("kind", "other")]}}}
    )
    body = json.loads(text)["resource"]["kind"]["name"]
    assert body == {"text": "$${a} %%{if b}", "id": ["${kind.other.id}"]}


def test_an_older_terraform_module_is_replaced(tmp_path: Path) -> None:
    old = tmp_path / "honeycomb" / "promptcache.tf"
    old.parent.mkdir()
    old.write_text("# Made by: promptcache alerts honeycomb --target 0.6\nresource ...")
    assert run("honeycomb", "--out", tmp_path).exit_code == ExitCode.OK
    assert sorted(path.name for path in old.parent.iterdir()) == ["api.json", "promptcache.tf.json"]


def test_a_terraform_module_of_the_user_is_kept_and_nothing_is_written(tmp_path: Path) -> None:
    old = tmp_path / "honeycomb" / "promptcache.tf"
    old.parent.mkdir()
    old.write_text("# Written by hand.\n")
    result = run("honeycomb", "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    message = re.sub(r"[│\s]+", " ", result.stderr)
    assert "Terraform would read each resource twice. Move or delete it" in message
    assert [path.name for path in old.parent.iterdir()] == ["promptcache.tf"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_is_a_module_and_a_row(backend: str) -> None:
    assert f"{backend}: {BACKENDS[backend].description}" in " ".join(run("--help").stdout.split())
    assert generate_files(backend, DEFAULT_DEFINITION)


def test_make_alerts_reads_the_registry() -> None:
    assert "registry import write_committed_files" in (ROOT / "Makefile").read_text()


def test_dotted_metric_names_are_those_of_the_contract() -> None:
    texts = [
        str(datadog.build_monitors(DEFAULT_DEFINITION)),
        str(newrelic.build_conditions(DEFAULT_DEFINITION)),
        str(signoz.build_rules(DEFAULT_DEFINITION)),
    ]
    for text in texts:
        found = set(re.findall(r"promptcache\.[a-z_.]+(?<!\.)", text))
        assert found & METRICS
        assert found <= METRICS | OURS


@pytest.mark.parametrize("backend", UNTRIED)
def test_what_was_never_run_says_so_with_its_page(backend: str) -> None:
    for text in generate_files(backend, DEFAULT_DEFINITION).values():
        head = text[:800]
        assert "NOT RUN LIVE" in head
        assert re.search(r"\w+\.(com|io)/\S+", head)


@pytest.mark.parametrize("backend", [name for name in MADE_OF_OPTIONS if name != "collector"])
def test_left_out_outcomes_are_in_every_file(backend: str) -> None:
    assert "below_minimum" not in made(backend)
    assert "below_minimum" in made(backend, actionable=True)
    assert "unreported" in made(backend)


def call(read: int | None, tokens: int) -> Call:
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
def test_the_sum_of_shortfalls_is_the_ratio_of_sums(
    calls: list[tuple[int, int]], target: float
) -> None:
    short = sum(shortfall_tokens(call(read, tokens), target) or 0.0 for read, tokens in calls)
    read, tokens = (sum(column) for column in zip(*calls, strict=True))
    assert (short > 0) == (tokens > 0 and read / tokens < target)


def test_a_call_that_reported_nothing_is_not_short_of_anything() -> None:
    assert shortfall_tokens(call(None, 1000), 0.5) is None


def test_the_dashboard_is_sound() -> None:
    board = json.loads(made("grafana"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert {re.sub(r"[${}]", "", panel["datasource"]["uid"]) for panel in panels} <= names
    used = set(re.findall(r"\$(\w+)", "".join(str(panel["targets"]) for panel in panels)))
    assert used <= names | {"__rate_interval"}
    cells = [(x, y) for panel in panels for x, y in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells), "panels lie upon each other"


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    assert place["x"] + place["w"] <= 24
    return (
        (x, y)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )


def test_the_collector_counts_before_it_samples() -> None:
    config = yaml.safe_load(
        generate_files("collector", DEFAULT_DEFINITION)["collector/promptcache.yaml"]
    )
    pipes = config["service"]["pipelines"]
    assert "signal_to_metrics" in pipes["traces"]["exporters"]
    assert not any("sampling" in name for name in pipes["traces"]["processors"])
    metrics = config["connectors"]["signal_to_metrics"]["spans"]
    assert all(
        row["name"].startswith("promptcache.spans.") and row["sum"]["monotonic"] for row in metrics
    )
    assert all("AdjustedCount()" in row["sum"]["value"] for row in metrics)


def test_the_rules_name_no_factor_that_cannot_be_reached() -> None:
    # At a target of 50 % the error budget cannot burn faster than twice: 14.4 and 6 would be rules that never fire.
    assert not re.search(r"14\.4|\b6 \*", _body(made("prometheus")))
    assert prometheus.FILE_PATH in generate_files("prometheus", DEFAULT_DEFINITION)


def test_jaegers_searches_name_attributes_of_the_contract() -> None:
    tags = set(re.findall(r"([a-z_]+(?:\.[a-z_]+)+)=", (ROOT / "docs" / "jaeger.md").read_text()))
    assert len(tags) > 5
    assert tags <= OURS | {row.name for row in STANDARD_ATTRIBUTES}


def test_the_runbooks_come_with_the_package() -> None:
    there = {
        f"runbooks/{path.name}": path.read_text()
        for path in (ROOT / "docs" / "runbooks").glob("*.md")
    }
    assert generate_files("runbooks", DEFAULT_DEFINITION) == there


def test_links_lead_to_where_the_reader_put_the_pages() -> None:
    text = made("prometheus", runbooks="https://wiki.example.com/prompts/")
    (group,) = yaml.safe_load(text)["groups"]
    links = [rule["annotations"]["runbook_url"] for rule in group["rules"] if "alert" in rule]
    pages = {
        f"https://wiki.example.com/prompts/{name.partition('/')[2]}"
        for name in generate_files("runbooks", DEFAULT_DEFINITION)
    }
    assert set(links) < pages
    assert "--runbooks https://..." in made("prometheus")
    assert "--runbooks https://..." not in text


RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*-*.md"))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_its_parts_and_names_real_causes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text()
    title = "PromptCache" + "".join(word.title() for word in path.stem.split("-"))
    assert text.startswith(f"# {title}\n")
    assert len(re.findall(r"^```(?:promql|sh)$", text, re.MULTILINE)) == 3
    assert "## Usual causes" in text
    named = {
        word
        for line in text.splitlines()
        if "reason `" in line
        for word in re.findall(r"`([a-z]+_[a-z_]+)`", line)
    }
    assert named <= {*MISS_REASONS, "not_requested"}
    record(tmp_path / "promptcache.db", {})
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^promptcache (.*)$", text, re.MULTILINE):
        assert CliRunner().invoke(app, command.split()).exit_code in {
            ExitCode.OK,
            ExitCode.NO_CALLS,
        }, command


def test_the_recipes_of_the_page_run_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = re.findall(
        r"^promptcache (alerts .*)$|`promptcache (alerts \w+)`",
        (ROOT / "docs" / "alerts.md").read_text(),
        re.M,
    )
    assert len(printed) > 4
    for command in (first or second for first, second in printed):
        assert CliRunner().invoke(app, command.split()).exit_code == ExitCode.OK, command
    assert (tmp_path / "deploy" / prometheus.FILE_PATH).is_file()
