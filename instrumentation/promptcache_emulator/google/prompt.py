"""A Gemini request as the cache reads it, and its cache profile."""

from __future__ import annotations

from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    to_compact_json,
)
from promptcache_emulator.profiles import GEMINI_PROFILES, VERTEX_PROFILES, CacheProfile
from promptcache_emulator.prompt_layout import MESSAGES, SYSTEM, PromptBlock
from promptcache_emulator.request import ProviderRequest


def is_vertex_request(request: ProviderRequest) -> bool:
    return "/projects/" in request.path or "/publishers/" in request.path


def select_gemini_profile(
    context: EmulatorContext, request: ProviderRequest, model: str
) -> CacheProfile:
    """Return the cache profile of the Gemini API or of Vertex AI for this model."""
    profiles = VERTEX_PROFILES if is_vertex_request(request) else GEMINI_PROFILES
    return context.profile_for(profiles, model, request)


def prompt_blocks(body: JSONObject) -> list[PromptBlock]:
    """Return one block for each part: system instruction, tools, contents.

    Google does not publish the order of its cache; this one is an assumption.
    """
    system = as_json_object(body.get("systemInstruction") or body.get("system_instruction"))
    blocks = [_part_block(part, SYSTEM, "system") for part in as_json_objects(system.get("parts"))]
    tools = as_json_objects(body.get("tools"))
    blocks += [PromptBlock(to_compact_json(tool), SYSTEM) for tool in tools]
    for content in as_json_objects(body.get("contents")):
        for index, part in enumerate(as_json_objects(content.get("parts"))):
            header = "" if index else str(content.get("role", "user"))
            blocks.append(_part_block(part, MESSAGES, header))
    return blocks


def _part_block(part: JSONObject, level: int, header: str) -> PromptBlock:
    fixed_tokens = 258 if {"inlineData", "fileData"} & part.keys() else None
    text = f"{header}\n{part['text']}" if "text" in part else header + to_compact_json(part)
    return PromptBlock(text, level, fixed_tokens=fixed_tokens)
