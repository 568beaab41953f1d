"""OpenAI's files and batches. A batch runs at once; its results are a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    parse_json_object,
    to_json_bytes,
)
from promptcache_emulator.multipart import parse_multipart_body
from promptcache_emulator.openai.chat import create_completion
from promptcache_emulator.openai.errors import error_body
from promptcache_emulator.openai.responses import create_response
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route, RouteHandler

_HANDLERS: Final[dict[str, RouteHandler]] = {
    "/v1/chat/completions": create_completion,
    "/v1/responses": create_response,
}
"""The endpoints that a batch may name."""


def create_file(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /v1/files`. The form has the fields `file` and `purpose`."""
    content = request.body.get("file")
    if not isinstance(content, str):
        raise ProviderError(400, "file: field required")
    file = _store_file(context, content.encode(), str(request.body.get("purpose")))
    return ProviderResponse(file)


def _store_file(context: EmulatorContext, content: bytes, purpose: str) -> JSONObject:
    file: JSONObject = {
        "id": new_id("file-", 24),
        "object": "file",
        "bytes": len(content),
        "created_at": int(context.clock()),
        "filename": "batch.jsonl",
        "purpose": purpose,
        "status": "processed",
    }
    context.store_resource(str(file["id"]), content)
    return file


def _find_file(context: EmulatorContext, file_id: str) -> bytes:
    content = context.resources.get(file_id)
    if not isinstance(content, bytes):
        raise ProviderError(404, f"No such File object: {file_id}")
    return content


def get_file_content(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET /v1/files/{id}/content`."""
    content = _find_file(context, request.path_params["id"])
    return ProviderResponse(content, media_type="application/octet-stream")


def create_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /v1/batches`. Every request runs now; the results are in a file."""
    body = request.body
    lines = _find_file(context, str(body.get("input_file_id"))).splitlines()
    results = [_run_batch_line(context, request, parse_json_object(line)) for line in lines if line]
    succeeded, failed = (
        [line for line in results if (line["response"]["status_code"] == 200) is is_success]
        for is_success in (True, False)
    )
    now = int(context.clock())
    batch: JSONObject = {
        "id": new_id("batch_", 24),
        "object": "batch",
        "endpoint": body.get("endpoint"),
        "input_file_id": body.get("input_file_id"),
        "completion_window": "24h",
        "status": "completed",
        "created_at": now,
        "completed_at": now,
        "output_file_id": _store_results(context, succeeded),
        "error_file_id": _store_results(context, failed),
        "request_counts": {
            "total": len(results),
            "completed": len(succeeded),
            "failed": len(failed),
        },
    }
    context.store_resource(str(batch["id"]), batch)
    return ProviderResponse(batch)


def _store_results(context: EmulatorContext, results: list[JSONObject]) -> str | None:
    """Store the results as a file and return its id; None without results."""
    content = b"".join(to_json_bytes(line) + b"\n" for line in results)
    return str(_store_file(context, content, "batch_output")["id"]) if results else None


def _run_batch_line(
    context: EmulatorContext, request: ProviderRequest, line: JSONObject
) -> JSONObject:
    """Run one request of a batch and return its line of the output or the error file."""
    path = str(line.get("url"))
    handler = _HANDLERS.get(path)
    if handler is None:
        raise ProviderError(400, f"url: {path} is not supported in a batch")
    item = replace(request, path=path, body=as_json_object(line.get("body")), path_params={})
    status = 200
    try:
        response = handler(context, item)
        response.commit()
        body = response.body
    except ProviderError as error:
        status, body = error.status, error_body(error)
    return {
        "id": new_id("batch_req_", 24),
        "custom_id": line.get("custom_id"),
        "response": {"status_code": status, "request_id": new_id("req_", 32), "body": body},
        "error": None,
    }


def get_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET /v1/batches/{id}`. The batch has already ended."""
    batch = context.resources.get(request.path_params["id"])
    if batch is None:
        raise ProviderError(404, f"No batch found with id '{request.path_params['id']}'.")
    return ProviderResponse(batch)


ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", r"/v1/files", create_file, error_body, parse_multipart_body),
    Route("GET", r"/v1/files/(?P<id>[^/]+)/content", get_file_content, error_body),
    Route("POST", r"/v1/batches", create_batch, error_body),
    Route("GET", r"/v1/batches/(?P<id>batch_[^/]+)", get_batch, error_body),
)
