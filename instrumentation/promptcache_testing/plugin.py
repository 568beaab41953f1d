"""The pytest plugin. It loads promptcache only when a test or an option asks for it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

from promptcache_testing.placeholders import PLACEHOLDER, set_placeholders
from promptcache_testing.second_run.settings import SECOND_RUN_VARIABLE, SecondRunSettings

if TYPE_CHECKING:
    from promptcache_testing.fixture import PromptCacheFixture
    from promptcache_testing.second_run.check import SecondRunCheck
    from promptcache_testing.second_run.recorder import SecondRunRecorder
    from promptcache_testing.second_run.second_process import SecondProcess
    from promptcache_testing.session import CacheSession

SECOND_RUN: Final[pytest.StashKey[SecondRunSettings | None]] = pytest.StashKey()
SECOND_PROCESS: Final[pytest.StashKey[SecondProcess]] = pytest.StashKey()
SESSION: Final = pytest.StashKey["CacheSession"]()
_MISSING_KEY_WORDS: Final = (
    "api_key",
    "API key",
    "NoCredentialsError",
    "NoRegionError",
    "Missing credentials",
    "DefaultCredentialsError",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options. None of them changes a test that does not use the fixture."""
    group = parser.getgroup("promptcache", "LLM prompt caching")
    group.addoption(
        "--promptcache",
        action="store_true",
        help="list the LLM calls of each test, their hit rate and volatile bytes; fails nothing",
    )
    group.addoption("--promptcache-json", metavar="FILE", help="write the list as JSON")
    group.addoption(
        "--promptcache-update",
        action="store_true",
        help="accept the prompts of this run: write them to promptcache.lock",
    )
    group.addoption(
        "--promptcache-volume",
        metavar="FILE",
        help="say what breaks cost in a month at the volume of this local table (promptcache.db)",
    )
    group.addoption(
        "--promptcache-twice",
        action="store_true",
        help="run the tests of the fixture a second time first, with another hash seed, clock, "
        "random seed, time zone, locale and working folder, and compare tools and system",
    )
    parser.addini(
        "promptcache_lock",
        "path of the lock, from the root folder",
        default="tests/promptcache.lock",
    )
    parser.addini(
        "promptcache_lock_python", "the version of Python whose job judges hashes", default=""
    )
    parser.addini("promptcache", "as with --promptcache, in every run", type="bool", default=False)
    parser.addini(
        "promptcache_allow_hosts", "hosts that tests with prompt_cache may reach", type="linelist"
    )


def _is_listing(config: pytest.Config) -> bool:
    options: Any = config.known_args_namespace
    return bool(options.promptcache or options.promptcache_json or config.getini("promptcache"))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set placeholder keys before any client is constructed, if the user asks for it."""
    if SECOND_RUN_VARIABLE in os.environ:
        from promptcache_testing.second_run.recorder import start_second_run

        early_config.stash[SECOND_RUN] = start_second_run()
    if _is_listing(early_config):
        set_placeholders()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and start the session if it is needed without the fixture."""
    config.addinivalue_line(
        "markers",
        "promptcache(min_calls=2, allow_hosts=()): how the fixture prompt_cache checks this test",
    )
    if config.getoption("promptcache_twice") and not is_worker(config):
        from promptcache_testing.second_run.second_process import SecondProcess

        config.stash[SECOND_PROCESS] = SecondProcess(config)
    if _is_listing(config) or config.getoption("promptcache_update") or SECOND_RUN in config.stash:
        _session(config)


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process runs tests for a controller of pytest-xdist."""
    return hasattr(config, "workerinput")


def _session(config: pytest.Config) -> CacheSession:
    """Return the session of this process. The first use loads promptcache and the emulator."""
    if SESSION not in config.stash:
        from promptcache_testing.session import CacheSession

        second_run = _second_run(config)
        is_listing = _is_listing(config) and SECOND_RUN not in config.stash
        config.stash[SESSION] = CacheSession(config, is_listing=is_listing, second_run=second_run)
    return config.stash[SESSION]


def _second_run(config: pytest.Config) -> SecondRunCheck | SecondRunRecorder | None:
    """Return what `--promptcache-twice` needs in this process, if it was given."""
    if (settings := config.stash.get(SECOND_RUN, None)) is not None:
        from promptcache_testing.second_run.recorder import SecondRunRecorder

        return SecondRunRecorder(settings)
    if not config.getoption("promptcache_twice"):
        return None
    from promptcache_testing.second_run.check import SecondRunCheck
    from promptcache_testing.second_run.second_process import settings_of_worker

    if SECOND_PROCESS in config.stash:
        return SecondRunCheck(config.stash[SECOND_PROCESS].settings)
    workerinput: dict[str, Any] = getattr(config, "workerinput", {})
    settings = settings_of_worker(workerinput)
    return None if settings is None else SecondRunCheck(settings)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the results of the second run are."""
    if (second := node.config.stash.get(SECOND_PROCESS, None)) is not None:
        node.workerinput["promptcache_second_run"] = second.settings.to_json()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only the tests of the fixture if this is the second process."""
    if config.stash.get(SECOND_RUN, None) is not None:
        from promptcache_testing.second_run.second_process import select_tests

        select_tests(config, items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Run the tests in the second process, before this one or its workers run them."""
    second = session.config.stash.get(SECOND_PROCESS, None)
    if second is not None and not session.testsfailed and not session.config.option.collectonly:
        second.run(session.items)
    return (yield)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the files of the second run."""
    if (second := config.stash.get(SECOND_PROCESS, None)) is not None:
        second.close()


@pytest.fixture
def prompt_cache(request: pytest.FixtureRequest) -> Iterator[PromptCacheFixture]:
    """Answer every SDK from an emulator in this process, and check the cache."""
    with _session(request.config).fixture_for(request.node) as fixture:
        yield fixture


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record the calls of a test that does not know the fixture, if calls are listed."""
    session = item.config.stash.get(SESSION, None)
    if session is None or not session.is_listing:
        return (yield)
    with session.listing(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check the turns once the test has passed, so that the test fails and not its teardown."""
    result = yield
    session = item.config.stash.get(SESSION, None)
    failure = None if session is None else session.failure_at_end(item)
    if failure is not None:
        pytest.fail(failure, pytrace=False)  # the place is in the text, and not in our code
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name the setting if a client could not be constructed without a key."""
    report = yield
    if item.config.stash.get(SECOND_RUN, None) is not None:
        second: Any = _session(item.config).second_run
        second.add_report(report, call.excinfo.value if call.excinfo else None)
    uses_fixture = "prompt_cache" in getattr(item, "fixturenames", ())
    if report.failed and uses_fixture and not _is_listing(item.config):
        _add_hint(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Name the setting if a module constructs a client when it is imported."""
    report = yield
    if report.failed:
        _add_hint(report)
    return report


def _add_hint(report: pytest.TestReport | pytest.CollectReport) -> None:
    text = report.longreprtext
    if any(word in text for word in _MISSING_KEY_WORDS) and PLACEHOLDER not in text:
        hint = (
            "A client has no key. `promptcache = true` in pytest's ini file, or the option "
            "--promptcache, sets placeholders."
        )
        report.sections.append(("promptcache", hint))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the files, or hand the results of a worker to the process that does."""
    cache_session = session.config.stash.get(SESSION, None)
    if cache_session is not None:
        cache_session.finish()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the results of a worker of pytest-xdist."""
    output = getattr(node, "workeroutput", {}).get("promptcache")
    if output is not None:
        _session(node.config).add_worker_output(output)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the list of calls."""
    session = config.stash.get(SESSION, None)
    second = config.stash.get(SECOND_PROCESS, None)
    lines = [] if session is None else session.summary_lines()
    for line in [*lines, *(second.summary_lines() if second is not None else ())]:
        terminalreporter.write_line(line)
