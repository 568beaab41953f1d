"""The key of a user's recordings: one file for each user, made by the first recording.

Links of prompts are made under it, for the local table only. Everything that writes one table must
have the same key, so the file is never replaced: many processes may start at once, and all read
what one of them published.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from promptcache.settings import OTEL_PROMPTCACHE_KEY_FILE

MIN_KEY_BYTES: Final = 16
_MAX_KEY_BYTES: Final = 4096
_NEW_KEY_BYTES: Final = 32
_OPEN_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


KEY_WARNING_VARIABLE: Final = "PROMPTCACHE_NO_KEY"
"""Set below `promptcache run` if it has said that there is no key."""


class KeyFileError(Exception):
    """There is no key that can be used. The text says why, and what to do."""


def describe_missing_key(error: KeyFileError) -> str:
    """Return in a sentence what is recorded without a key, and why there is none."""
    return (
        "promptcache records no links of prompts, so whatif cannot replay these calls:"
        f" {error} ({OTEL_PROMPTCACHE_KEY_FILE} names another file)"
    )


def resolve_key_path(environ: Mapping[str, str]) -> Path:
    """Return the path of `OTEL_PROMPTCACHE_KEY_FILE`, else a file in the user's state folder."""
    chosen = environ.get(OTEL_PROMPTCACHE_KEY_FILE, "").strip()
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    state = environ.get("XDG_STATE_HOME", "").strip()
    # The specification of XDG says: a path that is not absolute is ignored.
    folder = state if os.path.isabs(state) else os.path.expanduser("~/.local/state")
    return Path(folder) / "promptcache" / "key"


def load_or_create_key(environ: Mapping[str, str]) -> bytes:
    """Return the key, which is made if there is none. Raises KeyFileError."""
    path = resolve_key_path(environ)
    try:
        if not os.path.lexists(path):
            _create(path)
        return _read(path)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be used: {error.strerror or error}") from error


def find_key_problem(environ: Mapping[str, str]) -> str | None:
    """Return why the key file cannot be used, None if it can or if it does not exist yet."""
    path = resolve_key_path(environ)
    if not os.path.lexists(path):
        return None
    try:
        _read(path)
    except KeyFileError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be used: {error.strerror or error}"
    return None


def _create(path: Path) -> None:
    """Publish a new key at `path`, unless another process does so first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_NEW_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _publish(draft: Path, path: Path) -> None:
    """Give the whole file its name. Of several processes the first one wins."""
    try:
        os.link(draft, path)  # `rename` would replace the key that others read already
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            draft.rename(path)


def _read(path: Path) -> bytes:
    if path.is_symlink():
        raise KeyFileError(f"{path} is a symbolic link, so another user may have chosen the key")
    handle = os.open(path, _OPEN_FLAGS)
    try:
        _refuse_foreign_file(path, os.fstat(handle))
        key = os.read(handle, _MAX_KEY_BYTES).strip()
    finally:
        os.close(handle)
    if len(key) < MIN_KEY_BYTES:
        raise KeyFileError(f"{path} has fewer than {MIN_KEY_BYTES} bytes: delete it")
    return key


def _refuse_foreign_file(path: Path, status: os.stat_result) -> None:
    """Raise KeyFileError if others own the file or can read it. Windows has neither."""
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is no regular file")
    if os.name == "nt":
        return
    if os.geteuid() not in (0, status.st_uid):
        raise KeyFileError(f"{path} belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyFileError(f"others can read {path}: chmod 600 {path}")
