"""Find the programs that these tests run."""

from __future__ import annotations

import shutil

import pytest

INSTALL = (
    "apt-get install --no-install-recommends prometheus prometheus-alertmanager victoria-metrics"
)


def find_program(name: str) -> str:
    """Return the path of a program. If it is missing, fail the test and say what to install."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: {INSTALL} (Debian 12)", pytrace=False)
    return path
