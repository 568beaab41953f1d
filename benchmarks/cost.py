"""What pricing costs: `python benchmarks/cost.py`. Exits with 1 where a budget is broken.

Budgets: one call at most 5 us of CPU after warm-up, no allocation growth over a million calls; importing the prices and
pricing the first call of a model stay far below the 30 ms and 4 MiB of the whole instrumentation.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from tempfile import TemporaryDirectory

from promptcache.model import Request, ResponseFacts, Usage
from promptcache.prices import PriceBook

MAX_CALL_MICROSECONDS = 5.0
MAX_GROWTH_BYTES = 16 * 1024
MAX_FIRST_CALL_MS = 5.0
MAX_FIRST_CALL_MIB = 1.0

SAMPLE_CALLS = {
    "openai, hit": ("openai", "gpt-6-sol", Usage(5300, 300, 5000, 0, {}, 100, 40)),
    "anthropic, write": (
        "anthropic",
        "claude-opus-5-5",
        Usage(5300, 300, 2000, 3000, {"5m": 3000}, 100),
    ),
    "openai, unknown model": ("openai", "our-own", Usage(5300, 300, 5000, 0, {}, 100)),
    "gemini, audio": (
        "gcp.gemini",
        "gemini-2.5-flash",
        Usage(9, 9, 0, 0, {}, 9, modality_tokens={"audio.input": 5}),
    ),
    "deepseek, peak hours": ("deepseek", "deepseek-flash", Usage(5300, 300, 5000, None, {}, 100)),
}

FIRST_CALL_SCRIPT = """
import resource, sys, time
import datetime, json, logging, re, types  # what every instrumented application has imported already
package = types.ModuleType("promptcache")
package.__path__ = {package!r}
sys.modules["promptcache"] = package
import promptcache.model
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
from promptcache.prices import Book
imported = time.process_time()
from promptcache.model import Facts, Request, Usage
book = Book.load()
for provider, model in {models!r}:
    request = Request("", provider, "chat", model, None, None, False, {{}}, b"", 1795000000.0)
    book.cost(request, Facts(model=model), Usage(5300, 300, 5000, 0, {{}}, 100))
done = time.process_time()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print((imported - start) * 1e3, (done - imported) * 1e3, grown / 1024)
"""


def make_pricing_call(
    book: PriceBook, provider: str, model: str, usage: Usage
) -> Callable[[], object]:
    request = Request(
        "chat", provider, "chat", model, "api.example.com", 443, False, {}, b"", 1_795_000_000.0
    )
    facts = ResponseFacts(model=model, service_tier="default")
    return lambda: book.compute_cost(request, facts, usage)


def measure_call(call: Callable[[], object], times: int = 20_000, rounds: int = 7) -> float:
    """CPU microseconds of one call, best of several rounds: what the machine can do when nobody disturbs it."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(times):
            call()
        best = min(best, time.process_time() - start)
    return best / times * 1e6


def measure_growth(call: Callable[[], object], times: int) -> int:
    """Bytes that are still allocated after `times` calls."""
    for _ in range(1000):
        call()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(times):
        call()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


def measure_first_call() -> tuple[float, float, float]:
    """Import ms, ms of the first call of three models, MiB grown: the best of seven new processes each."""
    import promptcache

    models = [
        ("openai", "gpt-6-sol"),
        ("anthropic", "claude-opus-5-5"),
        ("openrouter", "anthropic/claude-opus-5.5"),
    ]
    code = FIRST_CALL_SCRIPT.format(package=list(promptcache.__path__), models=models)
    runs: list[list[float]] = []
    with (
        TemporaryDirectory() as cache
    ):  # the first run compiles, as an installation does; it is not counted
        around = {"PATH": os.environ.get("PATH", ""), "PYTHONPYCACHEPREFIX": cache}
        for _ in range(8):
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=around
            )
            runs.append([float(word) for word in done.stdout.split()])
    imported, first, grown = (min(column) for column in zip(*runs[1:], strict=True))
    return imported, first, grown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--calls", type=int, default=1_000_000, help="calls of the allocation check"
    )
    times = parser.parse_args().calls
    book = PriceBook()
    slow = 0
    for name, (provider, model, usage) in SAMPLE_CALLS.items():
        spent = measure_call(make_pricing_call(book, provider, model, usage))
        slow += spent > MAX_CALL_MICROSECONDS
        print(f"{name:<24} {spent:6.2f} us a call (budget {MAX_CALL_MICROSECONDS:g})")
    provider, model, usage = SAMPLE_CALLS["anthropic, write"]
    grown = measure_growth(make_pricing_call(book, provider, model, usage), times)
    print(
        f"{'allocation growth':<24} {grown:6d} bytes over {times:,} calls (budget {MAX_GROWTH_BYTES:,})"
    )
    imported, first, mib = measure_first_call()
    print(
        f"{'import':<24} {imported:6.2f} ms; first calls of three models {first:.2f} ms (budget {MAX_FIRST_CALL_MS:g}); "
        f"{mib:.2f} MiB (budget {MAX_FIRST_CALL_MIB:g})"
    )
    return int(
        slow > 0
        or grown > MAX_GROWTH_BYTES
        or imported + first > MAX_FIRST_CALL_MS
        or mib > MAX_FIRST_CALL_MIB
    )


if __name__ == "__main__":
    sys.exit(main())
