"""The locked packages cover what pyproject.toml asks for, and no committed file names a package
index."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.compat.run import EXTRAS, LOCKED, TOOLS_NEEDED, all_pins
from tests.plugin.run import ENVIRONMENTS
from tests.plugin.run import EXTRAS as PLUGIN_EXTRAS

ROOT: Final = Path(__file__).parent.parent
REQUIREMENTS: Final = ROOT / "requirements"
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS: Final[Mapping[str, tuple[tuple[str, ...], str, tuple[str, ...]]]] = {
    "demo": (("demo",), "build", ()),
    "dev": (("dev",), "build", ()),
    "uv": ((), "uv", ()),
    **{
        f"plugin-{name}": (PLUGIN_EXTRAS, "build", environment.packages)
        for name, environment in ENVIRONMENTS.items()
    },
    **{f"compat-{name}": (EXTRAS, "build", (*all_pins(name), *TOOLS_NEEDED)) for name in LOCKED},
}
"""File in requirements/ -> the extras, the dependency group and the other packages that it
locks."""

# The parts are joined here, else this file would name the addresses that it looks for.
HOSTS: Final = (
    "py" + "pi.org",
    "pythonhosted" + ".org",
    "registry." + "npmjs",
    "proxy." + "golang.org",
    "crates" + ".io",
)
OPTIONS: Final = (
    "--index" + "-url",
    "--extra-index" + "-url",
    "--find" + "-links",
    "--trusted" + "-host",
)


def committed_files() -> list[Path]:
    """Return the files that git tracks; every file in an unpacked source distribution, which has no
    git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [
            ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()
        ]
    return [path for path in ROOT.rglob("*") if path.is_file() and not path.is_symlink()]


def dependencies_of_extra(extra: str) -> Iterator[Requirement]:
    """Yield the direct dependencies of an extra, with those of the extras that it includes."""
    for text in PROJECT["project"]["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) == PROJECT["project"]["name"]:
            for included in requirement.extras:
                yield from dependencies_of_extra(included)
        else:
            yield requirement


def list_requirements(name: str) -> list[Requirement]:
    """Return all dependencies that the lock `name` must cover."""
    extras, group, others = LOCKS[name]
    texts = [*PROJECT["dependency-groups"][group], *others]
    if extras:
        texts += PROJECT["project"]["dependencies"]
    dependencies = [requirement for extra in extras for requirement in dependencies_of_extra(extra)]
    return [*map(Requirement, texts), *dependencies]


def read_lock(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Return each package of requirements/`name`.txt with its pin and its hashes."""
    entries = re.split(r"\n(?=[^\s#])", (REQUIREMENTS / f"{name}.txt").read_text())
    pins = [
        (Requirement(entry.partition("\\")[0].strip()), re.findall(r"--hash=(\S+)", entry))
        for entry in entries
    ]
    return {canonicalize_name(pin.name): (pin, hashes) for pin, hashes in pins}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_covers_every_dependency_of_its_extra(name: str) -> None:
    pins = read_lock(name)
    for requirement in list_requirements(name):
        pin, _ = pins[canonicalize_name(requirement.name)]
        (version,) = [specifier.version for specifier in pin.specifier]
        assert requirement.specifier.contains(version, prereleases=True), (
            f"run `make requirements`: {requirement}"
        )
        assert pin.marker is None or pin.marker.evaluate()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_every_package_by_version_and_hash(name: str) -> None:
    for pin, hashes in read_lock(name).values():
        assert [specifier.operator for specifier in pin.specifier] == ["=="]
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes)


def test_demo_and_dev_lock_the_same_versions() -> None:
    demo, dev = read_lock("demo"), read_lock("dev")
    assert demo.keys() <= dev.keys()
    assert {name: pin.specifier for name, (pin, _) in demo.items()} == {
        name: dev[name][0].specifier for name in demo
    }


def test_no_committed_file_names_a_package_index() -> None:
    """A lock such as uv.lock writes the index of the machine that made it into the repository."""
    matches = list[str]()
    for path in committed_files():
        text = path.read_bytes().decode(errors="replace")
        matches += [f"{path.relative_to(ROOT)}: {word}" for word in HOSTS + OPTIONS if word in text]
    assert not matches
    assert not (ROOT / "uv.lock").exists()
