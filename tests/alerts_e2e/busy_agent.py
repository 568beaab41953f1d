"""The support agent of the examples answers without end.

While the file exists that its argument names, its prompt contains the time. The program contains
nothing of promptcache: `opentelemetry-instrument` instruments it.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

from openai import OpenAI

AGENT = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "support_agent.py"))


def main(broken: Path) -> None:
    """Ask the same question after the same handbook until the process ends."""
    client = OpenAI()
    while True:
        prompt = AGENT["system_prompt"](clock=broken.exists())
        AGENT["ask_model"](
            client,
            [
                {"role": "system", "content": prompt},
                {"role": "user", "content": "Where is my tent?"},
            ],
            stream=False,
        )
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
