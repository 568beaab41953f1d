"""Anthropic message batches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from promptcache_emulator.anthropic.errors import error_body
from promptcache_emulator.anthropic.messages import run_request
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    to_json_bytes,
)
from promptcache_emulator.profiles import ANTHROPIC_PROFILES
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route


def create_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /v1/messages/batches`. Every request runs now; its result is read later."""
    items = as_json_objects(request.body.get("requests"))
    results = [_run_batch_item(context, request, item) for item in items]
    if not results:
        raise ProviderError(400, "requests: List should have at least 1 item")
    now = datetime.fromtimestamp(context.clock(), UTC).isoformat()
    batch: JSONObject = {
        "id": new_id("msgbatch_01", 22),
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": _batch_request_counts(processing=len(results)),
        "created_at": now,
        "expires_at": now,
        "ended_at": None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }
    context.store_resource(str(batch["id"]), (batch, results))
    return ProviderResponse(batch)


def _batch_request_counts(processing: int = 0, succeeded: int = 0, errored: int = 0) -> JSONObject:
    return {
        "processing": processing,
        "succeeded": succeeded,
        "errored": errored,
        "canceled": 0,
        "expired": 0,
    }


def _run_batch_item(
    context: EmulatorContext, request: ProviderRequest, item: JSONObject
) -> JSONObject:
    custom_id = item.get("custom_id")
    item_request = ProviderRequest(
        "POST",
        request.path,
        as_json_object(item.get("params")),
        request.headers,
        {},
        request.cache_scope,
        request.fault,
    )
    try:
        message, commit = run_request(context, item_request, ANTHROPIC_PROFILES, "batch")
    except ProviderError as error:
        return {"custom_id": custom_id, "result": {"type": "errored", "error": error_body(error)}}
    commit()
    return {"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}


def _find_batch(
    context: EmulatorContext, request: ProviderRequest
) -> tuple[JSONObject, list[JSONObject]]:
    """Return the batch and its results. Raise ProviderError if there is no such batch."""
    batch_id = request.path_params["id"]
    found: tuple[JSONObject, list[JSONObject]] | None = context.resources.get(batch_id)
    if found is None:
        raise ProviderError(404, f"no such batch: {batch_id}")
    return found


def get_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET /v1/messages/batches/{id}`. The batch has already ended."""
    batch, results = _find_batch(context, request)
    succeeded = sum(row["result"]["type"] == "succeeded" for row in results)
    base_url = f"http://{request.headers.get('host', 'localhost')}"
    return ProviderResponse(
        batch
        | {
            "processing_status": "ended",
            "ended_at": batch["created_at"],
            "request_counts": _batch_request_counts(
                succeeded=succeeded, errored=len(results) - succeeded
            ),
            "results_url": f"{base_url}/v1/messages/batches/{batch['id']}/results",
        }
    )


def get_batch_results(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET /v1/messages/batches/{id}/results`: one JSON object a line."""
    _, results = _find_batch(context, request)
    return ProviderResponse(
        events=list[Any](results),
        encode_event=lambda row: to_json_bytes(row) + b"\n",
        media_type="application/x-jsonl",
    )


_BATCHES_PATH: Final = r"(/anthropic)?/v1/messages/batches"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _BATCHES_PATH, create_batch, error_body),
    Route("GET", _BATCHES_PATH + r"/(?P<id>[^/]+)", get_batch, error_body),
    Route("GET", _BATCHES_PATH + r"/(?P<id>[^/]+)/results", get_batch_results, error_body),
)
