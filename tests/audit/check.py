"""Report known vulnerabilities of our dependencies, and the packages that no service knows.

    make audit

Queries the services of pip-audit one after the other, each for the packages that the earlier ones
did not know. Exits with 1 if a package is vulnerable, and with 2 if no service knows a package:
an unknown package is not a safe package.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

SERVICES: Final = ("pypi", "osv")
Report = dict[str, dict[str, Any]]
"""Package name -> the entry of pip-audit's JSON report."""


def normalize_name(name: str) -> str:
    """Return the normalized name of a package: `zope-interface` for `zope.interface`."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def query_service(program: str, service: str, requirements: Iterable[str]) -> tuple[Report, str]:
    """Query one service for `requirements`, lines `name==version`.

    Returns the packages that the service knows, and why it does not know the others.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        command = [
            program,
            "--no-deps",
            "--disable-pip",
            "-f",
            "json",
            "-s",
            service,
            "-r",
            file.name,
        ]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(process.stdout)["dependencies"]
    except (ValueError, KeyError):
        return {}, (process.stderr.strip().splitlines() or ["no answer"])[-1]
    skip_reasons = [package["skip_reason"] for package in packages if "skip_reason" in package]
    return {
        normalize_name(package["name"]): package
        for package in packages
        if "skip_reason" not in package
    }, skip_reasons[0] if skip_reasons else ""


def main(arguments: Sequence[str]) -> int:
    """Run pip-audit, `arguments[0]`, on the output of `pip freeze` in the file `arguments[1]`."""
    program, packages = arguments
    remaining = {
        normalize_name(line.partition("==")[0]): line
        for line in Path(packages).read_text().splitlines()
    }
    total, vulnerable = len(remaining), 0
    for service in SERVICES:
        if not remaining:
            break
        report, reason = query_service(program, service, remaining.values())
        remaining = {name: line for name, line in remaining.items() if name not in report}
        print(
            f"{service}: looked up {len(report)}"
            + (f"; no more, since: {reason[:200]}" if reason else "")
        )
        for name, package in report.items():
            for vulnerability in package["vulns"]:
                vulnerable += 1
                print(
                    f"VULNERABLE {name} {package['version']}: {vulnerability['id']}, "
                    f"fixed in {vulnerability['fix_versions']}"
                )
    print(
        f"{total - len(remaining)} of {total} packages looked up,"
        f" {vulnerable} known vulnerabilities."
    )
    if remaining:
        print(f"NOT CHECKED, so nothing is known of them: {' '.join(remaining.values())}")
    return 1 if vulnerable else 2 if remaining else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
