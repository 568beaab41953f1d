"""What `--promptcache-twice` adds to a run of pytest: python benchmarks/twice.py [ROUNDS]

It is to cost at most 1.3 times the own time of the selected tests, plus one import. A suite of 40
tests of five calls through OpenAI's SDK runs plain, collected only, and twice, in turn. The medians
of the processor seconds do not depend on who else uses the machine; wall seconds do.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BOUND: Final = 1.3
SUITE: Final = """
import openai, pytest

HANDBOOK = "You are the support agent of a web shop, and you follow the handbook. " * 200
client = openai.OpenAI(api_key="x")


@pytest.mark.parametrize("number", range(40))
def test_agent(prompt_cache, number):
    messages = [{"role": "system", "content": HANDBOOK}]
    for turn in range(5):
        messages.append({"role": "user", "content": f"Where is order {number}-{turn}?"})
        answer = client.chat.completions.create(model="gpt-4.1", messages=messages)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
"""
RUNS: Final = {
    "collected only": ("--collect-only",),
    "plain": (),
    "twice": ("--promptcache-twice",),
}


def measure(folder: Path, options: tuple[str, ...]) -> tuple[float, float]:
    """Return wall and processor seconds of one run, its child processes included."""
    paths = [str(ROOT / part) for part in ("instrumentation", "exporters")]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    plugin = ("-p", "no:promptcache", "-p", "promptcache_testing.plugin", "-p", "no:cacheprovider")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, *options],
        cwd=folder,
        env=environ,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in RUNS}
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_agent.py").write_text(SUITE)
        for _ in range(rounds):
            for run, options in RUNS.items():
                seconds[run].append(measure(folder, options))
    for index, unit in enumerate(("wall", "processor")):
        imports, plain, twice = (median(one[index] for one in seconds[run]) for run in RUNS)
        tests = plain - imports
        print(
            f"{unit:>9}: import {imports:.2f} s, tests {tests:.2f} s, twice adds "
            f"{twice - plain:.2f} s = one import + {(twice - plain - imports) / tests:.2f} "
            f"x the tests (at most {BOUND})"
        )


if __name__ == "__main__":
    main()
