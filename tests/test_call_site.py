"""The call site is the line that a person would name, or nothing."""

from __future__ import annotations

import asyncio
import runpy
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType
from typing import Any, Final

import openai
import pytest

import promptcache
from promptcache.model import CallSite
from promptcache.telemetry.call_site import find_call_site
from tests.support.framework_source import SOURCE
from tests.support.telemetry import Telemetry

CALL: Final = "site = find_call_site()"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An agent of a framework that is installed."""
    path = tmp_path_factory.mktemp("lib") / "site-packages" / "framework.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    return runpy.run_path(str(path))["Agent"]()


def run_code(filename: str) -> CallSite | None:
    """Return the call site of a call in a file of this name, which a bare thread runs."""
    names: dict[str, Any] = {"find_call_site": find_call_site, "__name__": "shop"}
    code: CodeType = compile(CALL, filename, "exec")
    thread = threading.Thread(target=exec, args=(code, names))
    thread.start()
    thread.join()
    site: CallSite | None = names["site"]
    return site


def has_site_of(site: CallSite | None, function: Callable[..., Any]) -> bool:
    """Return whether `site` is a line of `function`."""
    return site is not None and site.function == f"{__name__}.{function.__qualname__}"


@pytest.mark.parametrize(
    "name",
    [
        "direct",
        "pool",
        "pool_wait",
        "pool_map",
        "nested_pools",
        "joined_thread",
        "loop_in_thread",
        "background_loop",
        "queue_of_thread",
        "queue_of_loop_in_thread",
        "run_sync",
    ],
)
def test_a_call_of_a_sync_framework_has_the_line_that_waits_for_it(agent: Any, name: str) -> None:
    def ask() -> Any:
        return getattr(agent, name)()

    site = ask()
    assert has_site_of(site, ask)
    assert site.line == ask.__code__.co_firstlineno + 1
    assert site.file.endswith("test_call_site.py")


@pytest.mark.parametrize(
    "name",
    [
        "direct_async",
        "task",
        "nested_tasks",
        "gather",
        "wait",
        "wait_for",
        "shield",
        "group",
        "anyio_group",
        "thread_from_task",
        "anyio_stream",
        "anyio_thread",
        "queue_of_run",
        "queue_read_by_task",
        "first_of_queue_and_abort",
    ],
)
def test_a_call_in_a_task_of_a_framework_has_the_line_that_awaits_it(agent: Any, name: str) -> None:
    async def ask() -> Any:
        return await getattr(agent, name)()

    async def run() -> Any:
        return await ask()

    assert has_site_of(asyncio.run(run()), ask)


def test_a_call_of_a_framework_has_the_line_that_gives_its_coroutine_to_asyncio(
    agent: Any,
) -> None:
    def ask() -> Any:
        return asyncio.run(agent.task())

    assert has_site_of(ask(), ask)


def test_a_call_in_a_stream_has_the_line_that_reads_it(agent: Any) -> None:
    async def read_async(stream: Any) -> Any:
        async for site in stream:
            return site
        return None

    def read() -> Any:
        return next(agent.pool_stream())

    for stream in (agent.stream(), agent.queue_stream()):
        assert has_site_of(asyncio.run(read_async(stream)), read_async)
    assert has_site_of(read(), read)


def test_the_generator_of_the_application_is_the_line_that_reads_a_stream(agent: Any) -> None:
    async def pages() -> AsyncIterator[Any]:
        async for site in agent.stream():
            yield site

    async def read() -> Any:
        (site,) = [site async for site in pages()]
        return site

    assert has_site_of(asyncio.run(read()), pages)


def test_who_holds_the_task_and_waits_for_something_else_did_not_make_the_call(agent: Any) -> None:
    results = list[CallSite | None]()

    async def start_and_rest() -> None:
        await agent.forgotten_task(results)
        await agent.rest(0.05)

    asyncio.run(start_and_rest())
    assert results == [None]


def test_who_reads_the_queue_of_another_task_did_not_make_the_call(agent: Any) -> None:
    """The agent holds both: the task that fills the queue, and the one that nobody waits for."""
    results = list[CallSite | None]()

    async def start_and_read() -> None:
        await agent.forgotten_task(results)
        await agent.other_queue(0.05)

    asyncio.run(start_and_read())
    assert results == [None]


def test_with_two_readers_that_hold_the_task_there_is_no_call_site(agent: Any) -> None:
    async def read(run: Any) -> Any:
        return [site async for site in run.stream()]

    async def read_elsewhere(run: Any) -> Any:
        return [site async for site in run.stream()]

    async def run_both() -> tuple[Any, Any]:
        run = agent.start_run()
        return await asyncio.gather(read(run), read_elsewhere(run))

    assert [None] in asyncio.run(run_both())


def test_a_task_that_nobody_waits_for_has_no_call_site(agent: Any) -> None:
    results = list[CallSite | None]()

    async def start_and_do_other_things() -> None:
        await agent.forgotten_task(results)
        await asyncio.sleep(0.05)

    asyncio.run(start_and_do_other_things())
    assert results == [None]


def test_a_thread_that_nobody_waits_for_has_no_call_site(agent: Any) -> None:
    results = list[CallSite | None]()
    agent.forgotten_thread(results)
    while not results:
        pass
    agent.thread.join()
    assert results == [None]


def test_the_line_that_runs_the_event_loop_makes_no_call(agent: Any) -> None:
    """Each of two tasks has the line that awaits its own agent."""

    async def ask() -> Any:
        return await agent.task()

    async def ask_otherwise() -> Any:
        return await agent.group()

    async def run() -> Any:
        return await asyncio.gather(ask(), ask_otherwise())

    first, second = asyncio.run(run())
    assert has_site_of(first, ask)
    assert has_site_of(second, ask_otherwise)


@pytest.mark.parametrize(
    "filename",
    [
        str(Path(sysconfig.get_path("scripts")) / "uvicorn"),
        "<string>",
        "<attrs generated init shop.Order>",
        "<frozen runpy>",
        str(Path(sysconfig.get_path("stdlib")) / "threading.py"),
        "/srv/lib/site-packages/shop.py",
    ],
)
def test_scripts_stubs_and_generated_code_are_no_application(filename: str) -> None:
    assert run_code(filename) is None


@pytest.mark.parametrize("filename", ["/srv/shop/app.py", "<ipython-input-3-a1b2>", "/srv/bin/app"])
def test_files_and_cells_of_the_user_are_an_application(filename: str) -> None:
    assert run_code(filename) == CallSite("shop.<module>", filename, 1)


SPAWNING: Final = """
import multiprocessing
import sys
sys.path.insert(0, sys.argv[1])
import framework_calls

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(framework_calls.call))
"""


def test_a_spawned_process_of_a_framework_has_no_call_site(tmp_path: Path) -> None:
    """The stub is `<string>:1`."""
    package = tmp_path / "site-packages" / "framework_calls.py"
    package.parent.mkdir()
    package.write_text(
        "from promptcache.telemetry.call_site import find_call_site\n"
        "def call():\n    return find_call_site()\n",
        encoding="utf-8",
    )
    program = tmp_path / "app.py"
    program.write_text(SPAWNING, encoding="utf-8")
    output = subprocess.check_output([sys.executable, program, package.parent], text=True)
    assert output.strip() == "None"


def chat(client: openai.OpenAI) -> None:
    time.sleep(0.1)  # until then the caller has begun to wait
    client.chat.completions.create(
        model="gpt-5.6", messages=[{"role": "user", "content": "Where is order 7?"}]
    )


def call_from_pool(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a call in a thread on whose stack nothing is an application's."""
    monkeypatch.setattr(chat, "__code__", chat.__code__.replace(co_filename="<generated>"))
    with ThreadPoolExecutor() as pool:
        pool.submit(chat, client).result()


def test_a_call_in_the_thread_of_a_pool_names_the_line_that_waits(
    telemetry: Telemetry, emulator_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k") as client:
        call_from_pool(client, monkeypatch)
    assert telemetry.attributes["code.function.name"] == f"{__name__}.call_from_pool"


def test_a_failed_search_leaves_the_call_as_it_is(
    telemetry: Telemetry,
    emulator_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise LookupError

    monkeypatch.setattr("promptcache.telemetry.call_site.find_waiting_line", fail)
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k") as client:
        call_from_pool(client, monkeypatch)
    assert telemetry.attributes["promptcache.input_tokens"] > 0
    assert telemetry.metric("promptcache.calls") == 1


def test_one_line_of_code_has_its_own_site_after_other_code_took_its_place() -> None:
    """The sites of earlier lines are kept. The id of a code that is gone belongs to another one."""
    sites = [run_code(f"/srv/shop/page_{number}.py") for number in range(50)]
    assert [site.file for site in sites if site] == [
        f"/srv/shop/page_{number}.py" for number in range(50)
    ]


def test_two_calls_of_one_function_have_their_own_lines() -> None:
    def ask() -> tuple[CallSite | None, CallSite | None, CallSite | None]:
        first, same_line = find_call_site(), find_call_site()
        return first, same_line, find_call_site()

    sites = [site.line for site in (*ask(), *ask()) if site]
    start = ask.__code__.co_firstlineno
    assert sites == [start + 1, start + 1, start + 2] * 2


def test_a_caller_at_another_distance_is_found_after_a_known_one() -> None:
    """Functions of ours are skipped by their number, unless others stand at their place."""
    names: dict[str, Any] = {"find_call_site": find_call_site}
    code = "def find(): return find_call_site(1)\ndef step_0(find): return find()\n" + "\n".join(
        f"def step_{number}(find=find): return step_{number - 1}(find)" for number in range(1, 9)
    )
    exec(compile(code, f"{Path(promptcache.__file__).parent}/flow.py", "exec"), names)
    find: Callable[[], CallSite | None] = names["find"]
    start: Callable[..., CallSite | None] = names["step_8"]

    def ask() -> CallSite | None:
        return start()

    def ask_between() -> CallSite | None:
        return start(lambda: find())

    def outer() -> CallSite | None:
        return start(ask)

    assert all(has_site_of(ask(), ask) for _ in range(3))
    site = ask_between()
    assert site is not None
    assert site.function.endswith("ask_between.<locals>.<lambda>")
    assert has_site_of(outer(), ask)
    with ThreadPoolExecutor(1) as pool:  # its stack has fewer frames than there were of ours
        assert pool.submit(find).exception() is None
