"""Run the families of the exam on the surfaces."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterable, Iterator

from promptcache_emulator.clock import Clock
from tests.breaks.exam import families as _families
from tests.breaks.exam.gate import Gate, open_gate
from tests.breaks.exam.pure import PureDriver
from tests.breaks.exam.scenario import FAMILIES, FamilyInfo
from tests.breaks.exam.score import Tally
from tests.breaks.exam.sdk import SdkDriver, instrumented
from tests.breaks.exam.simulate import START, JudgedCall, World
from tests.breaks.exam.surfaces import SURFACES, Surface
from tests.support.telemetry import Telemetry

assert _families

Key = tuple[str, str]
"""Names of a family and of a surface."""


def make_rng(info: FamilyInfo, surface: Surface, seed: int) -> random.Random:
    return random.Random(zlib.crc32(f"{info.name}/{surface.name}/{seed}".encode()))


def play_pure(info: FamilyInfo, surface: Surface, seed: int) -> Iterator[JudgedCall]:
    """Play one family on one surface through the pure functions."""
    clock = Clock(START)
    world = World(surface, PureDriver(surface, clock), clock)
    return world.play(info.play(make_rng(info, surface, seed), surface))


def play_sdk(
    info: FamilyInfo, surface: Surface, seed: int, gate: Gate, telemetry: Telemetry
) -> Iterator[JudgedCall]:
    """Play one family on one surface through its SDK. Every second seed and surface streams."""
    clock = Clock(START)
    stream = bool(zlib.crc32(f"{info.name}/{surface.name}/{seed}/stream".encode()) % 2)
    driver = SdkDriver(surface, gate, telemetry, stream)
    driver.learn_bodies(info.play(make_rng(info, surface, seed), surface))
    with instrumented(telemetry, clock):
        world = World(surface, driver, clock)
        yield from world.play(info.play(make_rng(info, surface, seed), surface))
    driver.close()


def choose_families(only: str | None, kinds: Iterable[str]) -> list[FamilyInfo]:
    """Return the families of these kinds whose name contains `only`."""
    return [
        info
        for info in FAMILIES.values()
        if info.kind in kinds and (only is None or only in info.name)
    ]


def score_pure(infos: Iterable[FamilyInfo], seeds: Iterable[int]) -> dict[Key, Tally]:
    tallies: dict[Key, Tally] = {}
    for info, surface, seed in itertools.product(infos, SURFACES, seeds):
        for call in () if info.needs_sdk else play_pure(info, surface, seed):
            tally = tallies.setdefault((info.name, surface.name), Tally())
            tally.add(info, surface, call)
    return tallies


_TURNS = 4
"""A call through an SDK is slow, so each seed plays a quarter of the families on a surface."""


def _is_turn(info: FamilyInfo, surface: Surface, seed: int) -> bool:
    pair = list(FAMILIES).index(info.name) + SURFACES.index(surface)
    return info.needs_sdk or (pair + seed) % _TURNS == 0


def score_sdk(infos: Iterable[FamilyInfo], seeds: Iterable[int]) -> dict[Key, Tally]:
    """Play families through the SDKs. Four seeds in a row play each of them on each surface."""
    tallies: dict[Key, Tally] = {}
    telemetry = Telemetry()
    with open_gate() as gate:
        for info, surface, seed in itertools.product(infos, SURFACES, seeds):
            if not surface.sdk or not _is_turn(info, surface, seed):
                continue
            for call in play_sdk(info, surface, seed, gate, telemetry):
                tally = tallies.setdefault((info.name, surface.name), Tally())
                tally.add(info, surface, call)
    return tallies


def score_unbroken(infos: Iterable[FamilyInfo], first_seed: int, calls: int) -> dict[Key, Tally]:
    """Play neutral families with seed after seed until there are so many calls."""
    tallies: dict[Key, Tally] = {}
    chosen, seed, played = list(infos), first_seed, 0
    while chosen and played < calls:
        for key, tally in score_pure(chosen, (seed,)).items():
            played += tally.calls
            tallies.setdefault(key, Tally()).merge(tally)
        seed += 1
    return tallies
