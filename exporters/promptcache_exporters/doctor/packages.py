"""Check the installed packages: which there are, which are too old, and who owns our name."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from typing import Final

from promptcache.version import __version__
from promptcache_exporters.doctor.finding import Finding, fault, ok, warning

OLDEST_RELEASES: Final[Mapping[str, str]] = {
    "openai": "1.40",
    "anthropic": "0.40",
    "google-genai": "1.30",
    "botocore": "1.35",
    "aiobotocore": "2.16",
    "groq": "1",
}
"""The oldest supported release of each SDK, as in pyproject.toml."""
_OTHER_PACKAGES: Final = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp",
    "wrapt",
    "litellm",
    "typer",
    "rich",
)


def check_packages() -> Iterator[Finding]:
    """Yield what there is to say about the packages of this environment."""
    sdks = find_versions(OLDEST_RELEASES)
    names = find_versions(_OTHER_PACKAGES)
    parts = [f"{name} {number}" for name, number in (sdks | names).items()]
    yield ok(
        "versions",
        f"promptcache {__version__}, Python {platform.python_version()}, {', '.join(parts)}",
    )
    yield from check_import_name(packages_distributions())
    if find_spec("opentelemetry.sdk") is None:
        yield fault(
            "no-opentelemetry-sdk",
            "opentelemetry-sdk is not installed, so that no call can be recorded",
            'pip install "promptcache[run]"',
        )
    if not sdks and "litellm" not in names:
        yield warning(
            "no-llm-sdk",
            "no supported SDK is installed here",
            "run the doctor in the environment of the application; it knows "
            + ", ".join(OLDEST_RELEASES),
        )
    for name, number in sdks.items():
        if _numbers(number) < _numbers(OLDEST_RELEASES[name]):
            yield fault(
                "sdk-too-old",
                f"{name} {number} is older than {OLDEST_RELEASES[name]}: its calls are not seen",
                f'pip install --upgrade "{name}>={OLDEST_RELEASES[name]}"',
            )


def check_import_name(distributions: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Yield a fault if another distribution has a package `promptcache` too."""
    others = sorted({*distributions.get("promptcache", ())} - {"promptcache"})
    for name in others:
        yield fault(
            "import-name-taken",
            f"{name} also installs a package named promptcache: the last one installed wins",
            f"pip uninstall {name}, then pip install --force-reinstall --no-deps promptcache",
        )


def find_versions(names: Mapping[str, str] | tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those of `names` that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _numbers(release: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, without zeros at the end: `1.40.0rc1` is 1, 40."""
    match = re.match(r"\d+(?:\.\d+)*", release)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
