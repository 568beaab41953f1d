"""`make audit` reports which packages were looked up. A script stands in for pip-audit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from promptcache.version import __version__
from tests.audit import check, sbom

CLEAN_PACKAGE: Final[dict[str, Any]] = {"name": "a", "version": "1", "vulns": []}
CLEAN_PACKAGE_FROM_OSV: Final[dict[str, Any]] = {"name": "b-c", "version": "2", "vulns": []}
VULNERABLE_PACKAGE: Final[dict[str, Any]] = {
    "name": "b-c",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}],
}
SKIPPED_PACKAGE: Final[dict[str, Any]] = {"name": "b-c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("pypi", "osv", "exit_code", "message"),
    [
        ([CLEAN_PACKAGE, CLEAN_PACKAGE_FROM_OSV], None, 0, "2 of 2 packages looked up, 0 known"),
        ([CLEAN_PACKAGE, VULNERABLE_PACKAGE], None, 1, "VULNERABLE b-c 2: PYSEC-1, fixed in ['3']"),
        ([CLEAN_PACKAGE, SKIPPED_PACKAGE], [CLEAN_PACKAGE_FROM_OSV], 0, "osv: looked up 1"),
        (
            [CLEAN_PACKAGE, SKIPPED_PACKAGE],
            [VULNERABLE_PACKAGE],
            1,
            "2 of 2 packages looked up, 1 known",
        ),
        (
            [CLEAN_PACKAGE, SKIPPED_PACKAGE],
            None,
            2,
            "NOT CHECKED, so nothing is known of them: B_C==2",
        ),
        (None, None, 2, "0 of 2 packages looked up, 0 known"),
    ],
)
def test_a_package_that_was_not_looked_up_is_not_reported_as_clean(
    pypi: Any,
    osv: Any,
    exit_code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    responses = {
        service: json.dumps({"dependencies": packages}) if packages else ""
        for service, packages in (("pypi", pypi), ("osv", osv))
    }
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"print({responses!r}[sys.argv[sys.argv.index('-s') + 1]])\n"
        "print('no route', file=sys.stderr)\n"
    )
    program.chmod(0o700)
    package_list = tmp_path / "packages.txt"
    package_list.write_text("a==1\nB_C==2\n")
    assert check.main([str(program), str(package_list)]) == exit_code
    assert message in capsys.readouterr().out


def test_the_bill_of_materials_names_the_version_of_promptcache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = {"bomFormat": "CycloneDX", "metadata": {"component": {"name": "promptcache"}}}
    program = tmp_path / "cyclonedx-py"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(bare | {'components': [{}]})!r})\n")
    program.chmod(0o700)
    out = tmp_path / "sbom" / "promptcache.cdx.json"
    sbom.main(str(program), sys.executable, str(out))
    written = json.loads(out.read_text())
    assert written["bomFormat"] == "CycloneDX"
    assert written["metadata"]["component"] == {
        "name": "promptcache",
        "version": __version__,
        "purl": f"pkg:pypi/promptcache@{__version__}",
    }
    assert capsys.readouterr().out.endswith(f"promptcache {__version__} and 1 packages\n")
