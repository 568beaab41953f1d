"""Each user has one key for recordings. Nobody else can read it, and all processes agree on it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from promptcache_exporters.doctor.key_file import check_key_file
from promptcache_exporters.recording import key_file
from promptcache_exporters.recording.key_file import (
    KeyFileError,
    load_or_create_key,
    resolve_key_path,
)
from tests.support.recorded_program import CALL, RUN, program_environ, read_rows

VARIABLE: Final = "OTEL_PROMPTCACHE_KEY_FILE"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "key"


@pytest.fixture
def environ(path: Path) -> dict[str, str]:
    return {VARIABLE: str(path)}


def test_the_key_is_made_once_and_only_its_owner_can_read_it(
    path: Path, environ: dict[str, str]
) -> None:
    key = load_or_create_key(environ)
    assert load_or_create_key(environ) == key == path.read_bytes().strip()
    assert len(key) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_the_file_is_in_the_state_folder_unless_the_variable_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_key_path({}) == tmp_path / ".local" / "state" / "promptcache" / "key"
    assert resolve_key_path({"XDG_STATE_HOME": "/var/state"}) == Path("/var/state/promptcache/key")
    assert resolve_key_path({"XDG_STATE_HOME": "relative"}) == resolve_key_path({})
    assert resolve_key_path({VARIABLE: "~/own"}) == tmp_path / "own"


PRINT_KEY: Final = (
    "import os, sys\n"
    "from promptcache_exporters.recording.key_file import load_or_create_key\n"
    "sys.stdin.readline()\n"
    "print(load_or_create_key(os.environ).decode())"
)


def test_eight_processes_agree(path: Path, environ: dict[str, str]) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_KEY],
            env=program_environ("http://127.0.0.1:9", **environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:  # all have imported it by now, or soon
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate()[0] for process in processes}
    assert keys == {path.read_text()}


def test_the_first_of_two_writers_wins(
    path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = key_file._publish  # pyright: ignore[reportPrivateUsage]

    def publish_late(draft: Path, target: Path) -> None:
        target.write_text("the other process was first\n")
        target.chmod(0o600)
        publish(draft, target)

    monkeypatch.setattr(key_file, "_publish", publish_late)
    assert load_or_create_key(environ) == b"the other process was first"
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_a_file_system_without_links_gets_a_key_too(
    path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert load_or_create_key(environ) == path.read_bytes().strip()


def make_readable(path: Path) -> None:
    path.chmod(0o640)


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_short(path: Path) -> None:
    path.write_text("short")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (make_readable, "others can read"),
        (make_link, "symbolic link"),
        (make_folder, "no regular file"),
        (make_short, "fewer than 16 bytes"),
    ],
)
def test_a_file_that_others_may_know_is_refused(
    spoil: object, text: str, path: Path, environ: dict[str, str]
) -> None:
    load_or_create_key(environ)
    assert callable(spoil)
    spoil(path)
    with pytest.raises(KeyFileError, match=text):
        load_or_create_key(environ)
    assert [(one.name, text in one.text) for one in check_key_file(environ)] == [("key-file", True)]


def test_a_file_of_another_user_is_refused(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_or_create_key(environ)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(KeyFileError, match="another user"):
        load_or_create_key(environ)


def test_without_a_place_for_the_key_calls_are_recorded_and_it_is_said_once(
    emulator_url: str, tmp_path: Path
) -> None:
    """Two processes below the launcher, and one sentence."""
    (tmp_path / "file").write_text("")
    program = f"""
import multiprocessing
{CALL}
call()
child = multiprocessing.get_context("fork").Process(target=call)
child.start()
child.join()
"""
    process = subprocess.run(
        [*RUN, "--", sys.executable, "-c", program],
        cwd=tmp_path,
        env=program_environ(emulator_url, **{VARIABLE: str(tmp_path / "file" / "key")}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0
    assert process.stderr.count("records no links of prompts") == 1
    rows = read_rows(tmp_path / "promptcache.db", "prefix_links, prefix_hash IS NULL, service")
    assert rows == [(None, 0, Path(sys.executable).name)] * 2


def test_a_recording_without_a_key_says_so_once(emulator_url: str, tmp_path: Path) -> None:
    program = f"import promptcache\n{CALL}\n" + "promptcache.record('calls.db')\ncall()\n" * 2
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=program_environ(emulator_url, **{VARIABLE: "/proc/key"}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0
    assert process.stderr.count("records no links of prompts") == 1
    assert len(read_rows(tmp_path / "calls.db")) == 2
