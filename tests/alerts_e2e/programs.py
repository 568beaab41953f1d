"""The programs that these tests run, or what to install to have them."""

from __future__ import annotations

import shutil

import pytest

INSTALL = (
    "apt-get install --no-install-recommends prometheus prometheus-alertmanager victoria-metrics"
)


def program(name: str) -> str:
    """The path of a program; the test fails, with what to install, where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: {INSTALL} (Debian 12)", pytrace=False)
    return path
