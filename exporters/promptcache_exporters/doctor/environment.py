"""Check the environment variables: ours and those of OpenTelemetry."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from promptcache.settings import (
    OTEL_PROMPTCACHE_DB,
    OTEL_PROMPTCACHE_HASH_KEY,
    OTEL_PROMPTCACHE_HASHES,
    OTEL_PROMPTCACHE_KEEP,
    OTEL_PROMPTCACHE_KEY_FILE,
    OTEL_PROMPTCACHE_PRICES,
    OTEL_PROMPTCACHE_TABLE_KEYS,
    OTEL_PROMPTCACHE_TRACE_URL,
    list_invalid_settings,
    list_setting_variables,
)
from promptcache_exporters.database.retention import parse_retention
from promptcache_exporters.database.sampling import sample_ratio_from_sampler_description
from promptcache_exporters.doctor.finding import Finding, fault, warning

OTHER_SETTINGS: Final = (
    OTEL_PROMPTCACHE_DB,
    OTEL_PROMPTCACHE_KEEP,
    OTEL_PROMPTCACHE_KEY_FILE,
    OTEL_PROMPTCACHE_TABLE_KEYS,
    OTEL_PROMPTCACHE_TRACE_URL,
)
"""The settings that the exporter, recordings and the page read themselves."""
_PREFIX: Final = "OTEL_PROMPTCACHE_"
_MIN_KEY_LENGTH: Final = 16
_EXPORTERS: Final[Mapping[str, str]] = {
    "OTEL_TRACES_EXPORTER": "opentelemetry_traces_exporter",
    "OTEL_METRICS_EXPORTER": "opentelemetry_metrics_exporter",
    "OTEL_LOGS_EXPORTER": "opentelemetry_logs_exporter",
}
"""The variables that name exporters, and the groups of entry points that have them."""
_ALIASES: Final = {"otlp": "otlp_proto_grpc"}
"""The exporter whose entry point OpenTelemetry takes for a name."""


def check_settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the settings of ours that are not understood, or that do not do what they seem to."""
    for setting in list_invalid_settings(environ):
        yield fault(
            "setting-invalid",
            f"the value of {setting.variable} is not understood: {setting.consequence}",
            setting.error,
        )
    known = [*list_setting_variables(), *OTHER_SETTINGS]
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            yield warning("setting-unknown", f"{name} is no setting and has no effect", advice)
    try:
        parse_retention(environ.get(OTEL_PROMPTCACHE_KEEP, ""))
    except ValueError as error:
        yield fault(
            "setting-invalid",
            f"the value of {OTEL_PROMPTCACHE_KEEP} is not understood: nothing is deleted",
            str(error),
        )
    yield from _check_hashes(environ)
    yield from _check_price_file(environ)


def _check_hashes(environ: Mapping[str, str]) -> Iterator[Finding]:
    key = environ.get(OTEL_PROMPTCACHE_HASH_KEY, "").strip()
    if environ.get(OTEL_PROMPTCACHE_HASHES, "").strip() == "all" and not key:
        yield warning(
            "hashes-without-key",
            f"{OTEL_PROMPTCACHE_HASHES}=all does nothing without a key: messages are not hashed",
            f"set {OTEL_PROMPTCACHE_HASH_KEY} to at least {_MIN_KEY_LENGTH} random characters",
        )
    if key and len(key) < _MIN_KEY_LENGTH:
        yield warning(
            "short-key",
            f"{OTEL_PROMPTCACHE_HASH_KEY} has {len(key)} characters: it can be found by trial",
            f"take at least {_MIN_KEY_LENGTH} random characters",
        )


def _check_price_file(environ: Mapping[str, str]) -> Iterator[Finding]:
    from promptcache.prices.user_prices import PriceFileError, load_user_prices

    if path := environ.get(OTEL_PROMPTCACHE_PRICES, "").strip():
        try:
            load_user_prices(path)
        except PriceFileError as error:
            yield fault(
                "price-file",
                f"{OTEL_PROMPTCACHE_PRICES} cannot be used, so built-in prices are: {error}",
                "correct the file, and try it with promptcache prices show MODEL --prices FILE",
            )


def check_opentelemetry(
    environ: Mapping[str, str], installed: Mapping[str, Collection[str]]
) -> Iterator[Finding]:
    """Yield the variables of OpenTelemetry because of which calls are not recorded.

    `installed` has the names of the exporters by group of entry points.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield fault(
            "sdk-disabled",
            "OTEL_SDK_DISABLED=true switches OpenTelemetry off: no span exists",
            "unset OTEL_SDK_DISABLED",
        )
    disabled = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    if {"promptcache", "*"} & {name.strip() for name in disabled.split(",")}:
        yield fault(
            "instrumentation-disabled",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names promptcache: opentelemetry-instrument"
            " leaves it out (promptcache run does not)",
            "take promptcache and * out of OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        )
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    ratio = sample_ratio_from_sampler_description(
        f"{sampler}{{{environ.get('OTEL_TRACES_SAMPLER_ARG', '')}}}"
    )
    if sampler and ratio != 1.0:
        yield warning(
            "sampled",
            f"OTEL_TRACES_SAMPLER={sampler} drops spans, and the rows with them",
            "record with OTEL_TRACES_SAMPLER=parentbased_always_on, or read metrics instead",
        )
    yield from _check_exporters(environ, installed)


def _check_exporters(
    environ: Mapping[str, str], installed: Mapping[str, Collection[str]]
) -> Iterator[Finding]:
    for variable, group in _EXPORTERS.items():
        for name in filter(None, map(str.strip, environ.get(variable, "").split(","))):
            if name.lower() != "none" and _ALIASES.get(name, name) not in installed[group]:
                yield fault(
                    "exporter-missing",
                    f"{variable} names {name}, which is not installed: OpenTelemetry then starts"
                    " without any exporter",
                    f"install the package of {name}, or correct {variable}",
                )


EXPORTER_GROUPS: Final = tuple(_EXPORTERS.values())
