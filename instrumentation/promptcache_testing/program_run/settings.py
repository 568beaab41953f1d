"""What a process below `promptcache check` knows of its run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

PROGRAM_RUN_VARIABLE: Final = "PROMPTCACHE_CHECK"


@dataclass(frozen=True, slots=True)
class ProgramRunSettings:
    """One run of a program.

    `folder` is where each process writes its file, `key` that of all digests (hex).
    `second_results` is the file of the run in other surroundings, None if there was none. That run
    itself has a `working_folder` and a `seed`, and judges nothing.
    """

    name: str
    folder: str
    key: str
    allowed_hosts: tuple[str, ...] = ()
    min_hit_rate: float | None = None
    second_results: str | None = None
    working_folder: str | None = None
    seed: int = 0

    @property
    def is_second_run(self) -> bool:
        return self.working_folder is not None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ProgramRunSettings:
        return cls(**json.loads(text))
