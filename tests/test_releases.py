"""The package, the README and the tested environments name the same supported releases."""

from __future__ import annotations

import pytest

from tests.compat.run import (
    ADDITIONAL_TESTS,
    MINIMUM_RELEASES,
    NAMED_ENVIRONMENTS,
    PROJECT,
    ROOT,
    TESTS,
    find_untried_sdks,
)

README = " ".join((ROOT / "README.md").read_text().split())


@pytest.mark.parametrize("requirement", MINIMUM_RELEASES.values())
def test_the_readme_names_the_tested_minimum_release_of_each_sdk(requirement: str) -> None:
    assert requirement.replace(">=", " ") in README
    assert requirement.replace(">=", "==") in ",".join(NAMED_ENVIRONMENTS.values()).split(",")


def test_the_readme_names_the_minimum_release_of_opentelemetry() -> None:
    (requirement,) = (
        requirement
        for requirement in PROJECT["dependencies"]
        if requirement.startswith("opentelemetry-api")
    )
    assert f"OpenTelemetry {requirement.partition('>=')[2].partition(',')[0]}" in README


def test_an_sdk_without_a_tested_call_is_reported() -> None:
    pins, cases = ["google-genai==1.30", "httpx<0.28"], ["test_a_call[openai-sync-chat]"]
    assert list(find_untried_sdks(pins, cases)) == ["no call of google-genai was tried"]
    assert not list(find_untried_sdks(pins, [*cases, "test_a_call[google-sync-generate]"]))


def test_every_test_file_of_the_matrix_exists() -> None:
    for name in (*TESTS, *(test for more in ADDITIONAL_TESTS.values() for test in more)):
        assert (ROOT / name.partition("::")[0]).is_file()
