"""The support agent of the examples, answering all day; while the file named by its argument exists, with a clock.

It knows nothing of promptcache: `opentelemetry-instrument` does all there is to do.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from openai import OpenAI

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import support_agent  # noqa: E402  # the folder of examples is no package


def main(broken: Path) -> None:
    """Asks the same question with the handbook before it, until the process is ended."""
    client = OpenAI()
    while True:
        prompt = support_agent.system_prompt(clock=broken.exists())
        support_agent.answer(
            client,
            [{"role": "system", "content": prompt}, {"role": "user", "content": "Where is my tent?"}],
            stream=False,
        )
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
