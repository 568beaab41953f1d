"""The program of `make demo`: run the support agent twice against the emulator and print a report.

The second run has the current time in its prompt, which breaks the cached prefix. The demo needs no
key and no network: the emulator answers on loopback and caches by the rules of the real provider.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES_DIR = Path(__file__).parent
BIN_DIR = Path(sys.executable).parent
DATABASE = "demo.db"
NEXT_STEPS = """
The table stays in {database}. Try next:
  {command} explain {database} --worst 1    # what broke the prefix
  {command} report {database} --by reason
  {command} whatif {database}               # what it would have cost otherwise
  {command} run -- python app.py            # your own program"""


@contextmanager
def running_emulator() -> Generator[str]:
    """Run the emulator on a free port and yield its URL."""
    process = subprocess.Popen(
        [BIN_DIR / "promptcache", "emulate", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        url = next(
            (word for word in process.stdout.readline().split() if word.startswith("http")), None
        )
        if url is None:
            sys.exit("The emulator did not start; run `promptcache emulate` to see the reason.")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def run_agent(service: str, url: str, *arguments: str, database: str = DATABASE) -> None:
    """Run the agent under `promptcache run` and add its calls to the table."""
    words = ["promptcache", "run", "--db", database, "--no-report", "--service", service, "--"]
    print(" ".join(["$", *words, "python support_agent.py", *arguments]), flush=True)
    subprocess.run(
        [
            str(BIN_DIR / words[0]),
            *words[1:],
            sys.executable,
            str(EXAMPLES_DIR / "support_agent.py"),
            *arguments,
        ],
        env=os.environ
        | {"OPENAI_BASE_URL": f"{url.rstrip('/')}/v1", "OPENAI_API_KEY": "no-key-needed"},
        check=True,
    )


def main() -> None:
    """Run both services, print one report, and keep the table."""
    for old in Path().glob(f"{DATABASE}*"):  # the table, and the files that SQLite keeps beside it
        old.unlink()
    with running_emulator() as url:
        run_agent("support-agent", url)
        run_agent("support-agent-with-clock", url, "--clock")
    print("$ promptcache report --by service\n", flush=True)
    subprocess.run([BIN_DIR / "promptcache", "report", DATABASE, "--by", "service"], check=True)
    print(NEXT_STEPS.format(command=BIN_DIR / "promptcache", database=DATABASE))
    whatif = subprocess.run(
        [BIN_DIR / "promptcache", "whatif", DATABASE], check=True, capture_output=True, text=True
    )
    print(f"\n{whatif.stdout.strip().splitlines()[-1]}")


if __name__ == "__main__":
    main()
