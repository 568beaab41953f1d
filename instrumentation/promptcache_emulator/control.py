"""The paths `/_emulator/...`, by which tests control the emulator."""

from __future__ import annotations

from typing import Final

from starlette.responses import JSONResponse, Response

from promptcache_emulator.bounds import bounded_int
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator, request_summary
from promptcache_emulator.json_util import parse_json_object
from promptcache_emulator.profile_overrides import parse_profile_overrides

_MAX_FAULTS: Final = 1000


def handle_control_request(emulator: Emulator, name: str, raw_body: bytes) -> Response:
    """Answer `clock`, `reset`, `evict`, `faults`, `rules` or `requests`."""
    try:
        arguments = parse_json_object(raw_body)
        if name == "clock" and arguments:
            _advance_clock(emulator, float(arguments["advance"]))
        elif name == "reset":
            emulator.reset()
        elif name == "evict":
            emulator.cache.evict_all()
        elif name == "faults" and arguments:
            times = bounded_int(arguments.get("times", 1), "times", 1, _MAX_FAULTS)
            path = str(arguments.get("path", ""))
            emulator.faults.add_fault(str(arguments["fault"]), times, path)
        elif name == "rules" and arguments:
            emulator.overrides = parse_profile_overrides(str(arguments["rules"]))
        elif name not in {"clock", "requests", "faults", "rules"}:
            return JSONResponse({"error": f"no such control: {name}"}, 404)
    except (TypeError, ValueError, KeyError) as error:
        return JSONResponse({"error": str(error)}, 400)
    if name == "requests":
        return JSONResponse(request_summary(emulator))
    return JSONResponse({"now": emulator.clock()})


def _advance_clock(emulator: Emulator, seconds: float) -> None:
    if not isinstance(emulator.clock, Clock):
        raise ValueError("this emulator's clock cannot be moved")
    emulator.clock.advance(seconds)
