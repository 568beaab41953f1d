"""`make audit` says what was looked up and what was not, by the answers of a pip-audit that is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.audit import check

CLEAN: Final[dict[str, Any]] = {"name": "a", "version": "1", "vulns": []}
MENDED: Final[dict[str, Any]] = {"name": "b-c", "version": "2", "vulns": []}
BAD: Final[dict[str, Any]] = {
    "name": "b-c",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}],
}
SKIPPED: Final[dict[str, Any]] = {"name": "b-c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("pypi", "osv", "code", "words"),
    [
        ([CLEAN, MENDED], None, 0, "2 of 2 packages looked up, 0 known"),
        ([CLEAN, BAD], None, 1, "VULNERABLE b-c 2: PYSEC-1, fixed in ['3']"),
        ([CLEAN, SKIPPED], [MENDED], 0, "osv: looked up 1"),
        ([CLEAN, SKIPPED], [BAD], 1, "2 of 2 packages looked up, 1 known"),
        ([CLEAN, SKIPPED], None, 2, "NOT CHECKED, so nothing is known of them: B_C==2"),
        (None, None, 2, "0 of 2 packages looked up, 0 known"),
    ],
)
def test_what_was_not_looked_up_is_not_clean(
    pypi: Any, osv: Any, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {
        service: json.dumps({"dependencies": it}) if it else ""
        for service, it in (("pypi", pypi), ("osv", osv))
    }
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint({answers!r}[sys.argv[sys.argv.index('-s') + 1]])\n"
        "print('no route', file=sys.stderr)\n"
    )
    program.chmod(0o700)
    packages = tmp_path / "packages.txt"
    packages.write_text("a==1\nB_C==2\n")
    assert check.main([str(program), str(packages)]) == code
    assert words in capsys.readouterr().out
