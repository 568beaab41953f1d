"""An OpenTelemetry Collector between applications and backends: counters from spans, and the traces of misses kept.

The counters are taken before tail sampling and weighted by each span's adjusted count, so that no sampling falsifies
them; they are named `promptcache.spans.*`, never like the metrics that applications send themselves.
"""

from __future__ import annotations

from string import Template
from typing import Final

from promptcache.semconv import (
    BATCH,
    COST_AMOUNT,
    COST_WITHOUT_CACHE,
    GEN_AI_PROVIDER_NAME,
    INPUT_TOKENS,
    MISS_REASON,
    MISSED_TOKENS,
    OUTCOME,
    OUTPUT_TOKENS,
    READ_TOKENS,
    SERVICE_NAME,
    WASTED_USD,
    WRITE_TOKENS,
)
from promptcache_exporters.alerts.definition import AlertDefinition

SUMMED_ATTRIBUTES: Final = (
    ("input.tokens", "{token}", INPUT_TOKENS),
    ("read.tokens", "{token}", READ_TOKENS),
    ("write.tokens", "{token}", WRITE_TOKENS),
    ("output.tokens", "{token}", OUTPUT_TOKENS),
    ("missed.tokens", "{token}", MISSED_TOKENS),
    ("wasted.usd", "{USD}", WASTED_USD),
    ("cost.usd", "{USD}", COST_AMOUNT),
    ("cost_without_cache.usd", "{USD}", COST_WITHOUT_CACHE),
)
"""What is summed: the metric's name behind its prefix, its unit, the span's attribute."""

KEPT_OUTCOMES: Final = ("miss", "cold")
"""The outcomes whose traces are always kept."""

_MAIN: Final = Template("""\
# Made by: $command
# Shown to work: `make collector` builds a collector with these components (deploy/collector/builder.yaml, 0.155.0),
# sends it spans and reads counters and kept traces back. Components are named as of 0.155.
#
# From the environment: PROMPTCACHE_LISTEN (where OTLP and Prometheus are served, 127.0.0.1), PROMPTCACHE_KEEP_USD (a
# call that wasted more keeps its trace, 0.01), PROMPTCACHE_KEEP_PERCENT (of all other traces, 5), PROMPTCACHE_WAIT (for
# a trace's last span, 10s), JAEGER_ENDPOINT (OTLP over gRPC, 127.0.0.1:14317). For ClickHouse add clickhouse.yaml.
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: "$${env:PROMPTCACHE_LISTEN:-127.0.0.1}:$${env:PROMPTCACHE_GRPC_PORT:-4317}"
      http:
        endpoint: "$${env:PROMPTCACHE_LISTEN:-127.0.0.1}:$${env:PROMPTCACHE_HTTP_PORT:-4318}"

connectors:
  # Every trace goes on to tail sampling, after it was counted.
  forward/counted: {}
  signal_to_metrics:
    error_mode: ignore
    spans:
$metrics
processors:
  memory_limiter:
    check_interval: 1s
    limit_percentage: 80
    spike_limit_percentage: 20
  batch: {}
  # The connector emits what each batch added; Prometheus wants totals. A quiet model must not start again at 0.
  deltatocumulative:
    max_stale: 24h
  tail_sampling:
    decision_wait: $${env:PROMPTCACHE_WAIT:-10s}
    num_traces: 50000
    policies:
      - name: misses
        type: string_attribute
        string_attribute:
          key: $outcome
          values: [$kept]
      # By OTTL: numeric_attribute reads whole numbers only, and would take this amount for 0.
      - name: waste
        type: ottl_condition
        ottl_condition:
          error_mode: ignore
          span:
            - 'span.attributes["$wasted"] > $${env:PROMPTCACHE_KEEP_USD:-0.01}'
      - name: the-rest
        type: probabilistic
        probabilistic:
          sampling_percentage: $${env:PROMPTCACHE_KEEP_PERCENT:-5}

exporters:
  otlp_grpc/jaeger:
    endpoint: "$${env:JAEGER_ENDPOINT:-127.0.0.1:14317}"
    tls:
      insecure: true
  prometheus:
    endpoint: "$${env:PROMPTCACHE_LISTEN:-127.0.0.1}:$${env:PROMPTCACHE_PROMETHEUS_PORT:-9464}"
    # Scrape it with honor_labels: true, since `job` is the service here.
    metric_expiration: 24h

service:
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter]
      exporters: [signal_to_metrics, forward/counted]
    traces/kept:
      receivers: [forward/counted]
      processors: [tail_sampling, batch]
      exporters: [otlp_grpc/jaeger]
    metrics/spans:
      receivers: [signal_to_metrics]
      processors: [deltatocumulative]
      exporters: [prometheus]
    metrics/applications:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [prometheus]
""")

_METRIC: Final = Template("""\
      - name: promptcache.spans.$name
        description: $about
        unit: "$unit"
        include_resource_attributes: [{key: $service}]
        attributes:
$attributes
        conditions:
          - 'span.attributes["$condition"] != nil'
        sum:
          monotonic: true
          value: '$value'
""")

_CLICKHOUSE: Final = Template("""\
# Made by: $command
# Add it to the other file: otelcol --config promptcache.yaml --config clickhouse.yaml. Shown to work: `make clickhouse`
# reads spans and counters back from ClickHouse's engine (chDB 26.9, over HTTP). Lists replace those of the other file.
exporters:
  clickhouse:
    endpoint: "$${env:CLICKHOUSE_ENDPOINT:-tcp://127.0.0.1:9000}"
    database: "$${env:CLICKHOUSE_DATABASE:-otel}"
    create_schema: true
    ttl: 720h

service:
  pipelines:
    traces/kept:
      exporters: [otlp_grpc/jaeger, clickhouse]
    metrics/spans:
      exporters: [prometheus, clickhouse]
    metrics/applications:
      exporters: [prometheus, clickhouse]
""")


def _render_metric(
    definition: AlertDefinition, name: str, unit: str, condition: str, value: str, extra: str
) -> str:
    keys = [
        key
        for key in (*definition.group_attributes, GEN_AI_PROVIDER_NAME, OUTCOME)
        if key != SERVICE_NAME
    ]
    rows = [
        f"          - {{key: {key}, optional: true}}"
        for key in dict.fromkeys([*keys, *filter(None, [extra])])
    ]
    rows.append(f"          - {{key: {BATCH}, default_value: false}}")
    about = "Calls, from spans." if name == "calls" else f"Sum of {condition} over spans."
    return _METRIC.substitute(
        name=name,
        unit=unit,
        about=about,
        condition=condition,
        value=value,
        service=SERVICE_NAME,
        attributes="\n".join(rows),
    )


def _render_metrics(definition: AlertDefinition) -> str:
    lost = {MISSED_TOKENS, WASTED_USD}
    made = [_render_metric(definition, "calls", "{call}", OUTCOME, "AdjustedCount()", "")]
    for name, unit, attribute in SUMMED_ATTRIBUTES:
        value = f'Double(span.attributes["{attribute}"]) * AdjustedCount()'
        made.append(
            _render_metric(
                definition, name, unit, attribute, value, MISS_REASON if attribute in lost else ""
            )
        )
    return "".join(made)


def files(definition: AlertDefinition) -> dict[str, str]:
    """The configuration, and what ClickHouse adds to it, by their paths."""
    command = definition.command_line("collector")
    main = _MAIN.substitute(
        command=command,
        metrics=_render_metrics(definition),
        outcome=OUTCOME,
        kept=", ".join(KEPT_OUTCOMES),
        wasted=WASTED_USD,
    )
    return {
        "collector/promptcache.yaml": main,
        "collector/clickhouse.yaml": _CLICKHOUSE.substitute(command=command),
    }
