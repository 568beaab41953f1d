"""What both processes of a second run know."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

SECOND_RUN_VARIABLE: Final = "PROMPTCACHE_SECOND_RUN"


@dataclass(frozen=True, slots=True)
class SecondRunSettings:
    """Where the results are, and the key of all digests (hex).

    The second process also reads its `folder`, the `seed` of its random numbers, and
    `import_paths`.
    """

    results: str
    key: str
    folder: str = ""
    seed: int = 0
    import_paths: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SecondRunSettings:
        return cls(**json.loads(text))
