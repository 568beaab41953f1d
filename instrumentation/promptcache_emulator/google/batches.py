"""Gemini batches: of inlined requests, and of an uploaded file with its results in a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.google.errors import error_body
from promptcache_emulator.google.generate_content import generate_content
from promptcache_emulator.google.paths import VERSION_PATH
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    parse_json_object,
    to_json_bytes,
)
from promptcache_emulator.multipart import parse_file_body
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route

_BATCH_TYPE: Final = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"


def start_upload(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /upload/.../files`: name the URL that takes the content."""
    url = f"http://{request.headers.get('host', 'localhost')}{request.path}/{new_id('f', 12)}"
    return ProviderResponse({}, headers={"x-goog-upload-url": url})


def upload_content(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer the upload of a whole file in one piece."""
    name = f"files/{request.path_params['id']}"
    content = str(request.body["content"]).encode()
    context.store_resource(name, content)
    file = {"name": name, "sizeBytes": str(len(content)), "state": "ACTIVE"}
    return ProviderResponse({"file": file}, headers={"x-goog-upload-status": "final"})


def download_file(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET files/{id}:download`."""
    content = _find_file(context, f"files/{request.path_params['id']}")
    return ProviderResponse(content, media_type="application/octet-stream")


def _find_file(context: EmulatorContext, name: str) -> bytes:
    content = context.resources.get(name)
    if not isinstance(content, bytes):
        raise ProviderError(404, f"no such file: {name}")
    return content


def create_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `models/{model}:batchGenerateContent`. Every request runs now."""
    batch = as_json_object(request.body.get("batch"))
    source = as_json_object(batch.get("inputConfig"))
    output: JSONObject
    if file_name := source.get("fileName"):
        lines = _find_file(context, str(file_name)).splitlines()
        results = [_run_item(context, request, parse_json_object(line)) for line in lines if line]
        name = f"files/batch-{new_id('', 12)}"
        context.store_resource(name, b"".join(to_json_bytes(one) + b"\n" for one in results))
        output = {"responsesFile": name}
    else:
        items = as_json_objects(as_json_object(source.get("requests")).get("requests"))
        results = [_run_item(context, request, item) for item in items]
        output = {"inlinedResponses": {"inlinedResponses": results}}
    if not results:
        raise ProviderError(400, "batch.input_config: requests are required")
    metadata: JSONObject = {
        "@type": _BATCH_TYPE,
        "model": f"models/{request.path_params['model']}",
        "displayName": batch.get("displayName"),
        "createTime": datetime.fromtimestamp(context.clock(), UTC).isoformat(),
        "name": f"batches/{new_id('', 24)}",
    }
    context.store_resource(str(metadata["name"]), (metadata, output))
    return ProviderResponse(_operation(metadata, "BATCH_STATE_PENDING"))


def _operation(metadata: JSONObject, state: str) -> JSONObject:
    return {"name": metadata["name"], "metadata": metadata | {"state": state}}


def _run_item(context: EmulatorContext, request: ProviderRequest, item: JSONObject) -> JSONObject:
    """Run one request, `{key, request}` or `{request, metadata}`, and return its result."""
    given: dict[str, Any] = {name: item[name] for name in ("key", "metadata") if name in item}
    path = request.path.replace(":batchGenerateContent", ":generateContent")
    body = as_json_object(item.get("request"))
    try:
        response = generate_content(context, replace(request, path=path, body=body))
    except ProviderError as error:
        return given | {"error": {"code": 3, "message": str(error)}}
    response.commit()
    return given | {"response": response.body}


def get_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET batches/{id}`. The batch has already ended."""
    found: tuple[JSONObject, JSONObject] | None = context.resources.get(
        f"batches/{request.path_params['id']}"
    )
    if found is None:
        raise ProviderError(404, "no such batch")
    metadata, output = found
    operation = _operation(metadata | {"output": output}, "BATCH_STATE_SUCCEEDED")
    return ProviderResponse(operation | {"done": True, "response": output})


_UPLOAD_PATH: Final = r"/upload/v\d\w*/files"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _UPLOAD_PATH, start_upload, error_body),
    Route("POST", _UPLOAD_PATH + r"/(?P<id>[^/]+)", upload_content, error_body, parse_file_body),
    Route("GET", VERSION_PATH + r"/files/(?P<id>[^/]+):download", download_file, error_body),
    Route(
        "POST",
        VERSION_PATH + r"/models/(?P<model>[^/:]+):batchGenerateContent",
        create_batch,
        error_body,
    ),
    Route("GET", VERSION_PATH + r"/batches/(?P<id>[^/]+)", get_batch, error_body),
)
