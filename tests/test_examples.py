"""The programs of examples/ run unchanged under `opentelemetry-instrument` with the emulator."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from promptcache_emulator.engine import Emulator

ROOT: Final = Path(__file__).parent.parent
AWS: Final = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "{url}",
}
PROGRAMS: Final[Mapping[str, Mapping[str, str]]] = {
    "anthropic_agent": {"ANTHROPIC_API_KEY": "no-key-needed", "ANTHROPIC_BASE_URL": "{url}"},
    "harness": {
        "ANTHROPIC_API_KEY": "no-key-needed",
        "ANTHROPIC_BASE_URL": "{url}",
        "OPENAI_API_KEY": "no-key-needed",
        "OPENAI_BASE_URL": "{url}/v1",
        "GROQ_API_KEY": "no-key-needed",
        "GROQ_BASE_URL": "{url}",
        "GOOGLE_API_KEY": "no-key-needed",
        "GOOGLE_GEMINI_BASE_URL": "{url}",
        **AWS,
    },
    "gemini_cache": {"GOOGLE_API_KEY": "no-key-needed", "GOOGLE_GEMINI_BASE_URL": "{url}"},
    "bedrock_converse": AWS,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unchanged_program_is_recorded_completely(
    program: str, emulator: Emulator, emulator_url: str, tmp_path: Path
) -> None:
    database = tmp_path / "spans.db"
    subprocess.run(
        [
            Path(sys.executable).parent / "opentelemetry-instrument",
            *(
                "--traces_exporter",
                "promptcache_sqlite",
                "--metrics_exporter",
                "none",
                "--logs_exporter",
                "none",
            ),
            *(sys.executable, ROOT / "examples" / f"{program}.py"),
        ],
        env=os.environ
        | {name: value.format(url=emulator_url) for name, value in PROGRAMS[program].items()}
        | {"OTEL_PROMPTCACHE_DB": str(database)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    with sqlite3.connect(database) as table:
        rows = table.execute(
            "SELECT input_tokens, read_tokens FROM llm_calls ORDER BY rowid"
        ).fetchall()
    expected = [
        (record.result.input_tokens, record.result.cache_read_tokens) for record in emulator.records
    ]
    assert rows == expected
    assert sum(read for _, read in rows) > 2000
