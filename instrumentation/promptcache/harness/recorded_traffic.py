"""The traffic of a prompt as the local table has it, for a plan."""

from __future__ import annotations

import os
from typing import final

from promptcache.harness.prompt_error import PromptError
from promptcache_exporters.database.errors import CallsFileReadError
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.replay.recorded_gaps import RecordedGaps, load_recorded_gaps


@final
class RecordedTraffic:
    """Recorded gaps, and the words with which a plan tells where they come from."""

    def __init__(self, gaps: RecordedGaps, prompt_name: str, model: str) -> None:
        self._gaps = gaps
        self._prompt_name = prompt_name
        self._model = model

    @classmethod
    def read(
        cls,
        db: str | os.PathLike[str],
        *,
        prompt_name: str,
        model: str,
        since: float,
        longest_ttl: float,
    ) -> RecordedTraffic:
        """Read the file of the table. Raise PromptError if it tells nothing of this prompt.

        `since` is in epoch seconds, `longest_ttl` in seconds: after it a conversation has ended.
        """
        try:
            path = resolve_database_path(db)
            gaps = load_recorded_gaps(path, prompt_name, model, since, longest_ttl)
        except CallsFileReadError as error:
            raise PromptError("db", str(error)) from error
        if not gaps.gaps:
            raise PromptError("db", f"has {gaps.call_count} calls of {model}, and a gap needs two")
        return cls(gaps, prompt_name, model)

    @property
    def calls_per_hour(self) -> float:
        """The mean over the recorded time."""
        return self._gaps.calls_per_hour

    @property
    def gaps(self) -> list[float]:
        """Seconds between two calls with the static layer."""
        return [*self._gaps.gaps]

    @property
    def turn_gaps(self) -> list[float] | None:
        """Seconds between two turns of a conversation, None if none is known."""
        return [*self._gaps.turn_gaps] or None

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the recorded gaps less certain."""
        notes: list[str] = []
        if not self._gaps.is_named:
            notes.append(
                f"no recorded call carries the name {self._prompt_name!r}, so the gaps are those "
                f"of all {self._gaps.call_count} calls of {self._model}"
            )
        if self._gaps.without_conversation:
            notes.append(
                f"the conversation of {self._gaps.without_conversation} calls is not known: record "
                "`gen_ai.conversation.id`, or OTEL_PROMPTCACHE_HASHES=all with a hash key"
            )
        if self._gaps.is_sampled:
            notes.append("the table may lack sampled calls, so real gaps may be shorter")
        return tuple(notes)
