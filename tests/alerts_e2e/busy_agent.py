"""The support agent of the examples, answering all day; while the file named by its argument
exists, with a clock.

It knows nothing of promptcache: `opentelemetry-instrument` does all there is to do.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

from openai import OpenAI

AGENT = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "support_agent.py"))


def main(broken: Path) -> None:
    """Asks the same question with the handbook before it, until the process is ended."""
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
