"""Known vulnerabilities of what we depend on, and an honest word on what could not be looked up.

    make audit

Asks pip-audit's services one after the other, the next one only for what those before it did not know. Exits with 1
where a package is vulnerable, with 2 where one was looked up nowhere: silence of a service is no clean bill.
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
Told = dict[str, dict[str, Any]]
"""What a service says of each package that it knows."""


def canonical(name: str) -> str:
    """One spelling for `PyYAML`, `ast_serialize` and `zope.interface`."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def asked(program: str, service: str, wanted: Iterable[str]) -> tuple[Told, str]:
    """What one service says of the packages (lines `name==version`), and why it says no more."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(wanted))
        file.flush()
        line = [program, "--no-deps", "--disable-pip", "-f", "json", "-s", service, "-r", file.name]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return {}, (done.stderr.strip().splitlines() or ["no answer"])[-1]
    reasons = [it["skip_reason"] for it in found if "skip_reason" in it]
    return {canonical(it["name"]): it for it in found if "skip_reason" not in it}, reasons[
        0
    ] if reasons else ""


def main(arguments: Sequence[str]) -> int:
    """`arguments`: the pip-audit program, and a file with the packages as `pip freeze` prints them."""
    program, packages = arguments
    left = {
        canonical(line.partition("==")[0]): line for line in Path(packages).read_text().splitlines()
    }
    of, vulnerable = len(left), 0
    for service in SERVICES:
        if not left:
            break
        told, why = asked(program, service, left.values())
        left = {name: line for name, line in left.items() if name not in told}
        print(
            f"{service}: looked up {len(told)}" + (f"; no more, since: {why[:200]}" if why else "")
        )
        for name, it in told.items():
            for known in it["vulns"]:
                vulnerable += 1
                print(
                    f"VULNERABLE {name} {it['version']}: {known['id']}, fixed in {known['fix_versions']}"
                )
    print(f"{of - len(left)} of {of} packages looked up, {vulnerable} known vulnerabilities.")
    if left:
        print(f"NOT CHECKED, so nothing is known of them: {' '.join(left.values())}")
    return 1 if vulnerable else 2 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
