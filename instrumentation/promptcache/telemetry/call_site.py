"""Find the line of the application that makes a call.

That is the innermost line of the application on the stack of the call. The stack ends where the
event loop begins: the line of `asyncio.run` did not make the calls of all tasks. A framework often
makes its calls in tasks and threads of its own. Then the line is that of the application which
waits for their result.
"""

from __future__ import annotations

from promptcache.common.safely import safely
from promptcache.model import CallSite
from promptcache.telemetry.stack_lines import (
    current_task,
    first_frame_of_caller,
    first_frame_of_task,
    has_loop_without_frames,
    innermost_line,
)
from promptcache.telemetry.waiting_lines import find_waiting_line


def find_call_site(depth: int = 1) -> CallSite | None:
    """Return the line that makes this call or waits for it, None if none is known.

    `depth` says how many frames are known to be no application's, this function's included.
    """
    last = first_frame_of_task(current_task()) if has_loop_without_frames() else None
    line = innermost_line(first_frame_of_caller(depth), last)
    return line or safely(find_waiting_line)
