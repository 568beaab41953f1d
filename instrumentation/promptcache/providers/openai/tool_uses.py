"""Find the uses of server tools in OpenAI's wire formats, as OpenAI and other servers speak them.

Sources: openai-python 3.57 (types/responses/response.py, `ToolUsage`; the items of `output`),
OpenAI's pricing page (built-in tools), groq-python 1.7 (chat_completion_message.py,
`executed_tools`), platform.moonshot.ai (web search), docs.z.ai (web search in chat).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from promptcache.common.coerce import JSONObject, as_count, as_list, as_mapping, as_str
from promptcache.providers.tool_uses import UNCOUNTED, count_tool_uses, key_of_use

WEB_SEARCH: Final = "web_search"
PREVIEW_SEARCH: Final = "web_search_preview"
"""The older web search tool, whose fee depends on the model (OpenAI's pricing page)."""
_BILLABLE_SEARCHES: Final = "billable_searches"
"""Our key for the number of searches that the response itself calls billable."""
_SEARCH_TOOL: Final = "search_tool"
_CODE_INTERPRETER: Final = "code_interpreter"
_IMAGE_GENERATION: Final = "image_generation"
_TOOLS_BY_ITEM: Final[Mapping[str, str]] = {
    "web_search_call": WEB_SEARCH,
    "file_search_call": "file_search",
    "code_interpreter_call": _CODE_INTERPRETER,
    "shell_call": _CODE_INTERPRETER,
    "image_generation_call": _IMAGE_GENERATION,
}
"""Output items of the Responses API that cost a fee. A shell in a container is billed like the code
interpreter, by the container."""
RELEVANT_ITEM_BYTES: Final = (
    r"web_search_call|file_search_call|code_interpreter_call|shell_call|image_generation_call"
)
_SEARCH_MODEL: Final = re.compile(r"-search-(preview|api)")
"""Models of Chat Completions that search once in every call."""
EXECUTED_TOOL: Final = "executed_tool"
"""A tool of Groq's server without a type."""
MOONSHOT_SEARCH: Final = "$web_search"
"""The function that Moonshot's server runs (platform.moonshot.ai, web search: a fee per call)."""


def find_tool_uses_of_response(response: JSONObject) -> dict[str, Any]:
    """Return the uses of tools in a complete response of the Responses API.

    Of web searches only the action `search` is billed, not `open_page` or `find_in_page`.
    """
    uses: dict[str, Any] = {}
    for index, item in enumerate(as_list(response.get("output"))):
        uses |= _find_use_of_item(as_mapping(item), index)
    found: dict[str, Any] = dict(count_tool_uses(uses))
    tool_usage = as_mapping(
        response.get("tool_usage") or as_mapping(response.get("usage")).get("tool_usage")
    )
    searches = as_mapping(tool_usage.get(WEB_SEARCH)).get("num_requests")
    if (reported := as_count(searches)) is not None:
        found[_BILLABLE_SEARCHES] = reported
    if as_count(as_mapping(tool_usage.get("image_gen")).get("total_tokens")):
        found[_IMAGE_GENERATION] = 1
    if _has_preview_search_only(as_list(response.get("tools"))):
        found[_SEARCH_TOOL] = PREVIEW_SEARCH
    return found


def find_tool_uses_of_event(event: JSONObject) -> dict[str, Any]:
    """Return the use of a tool that an event of a stream tells: some servers leave the `output` of
    the last event empty."""
    if event.get("type") != "response.output_item.done":
        return {}
    return _find_use_of_item(as_mapping(event.get("item")), event.get("output_index"))


def _find_use_of_item(item: JSONObject, index: object) -> dict[str, Any]:
    tool = _TOOLS_BY_ITEM.get(as_str(item.get("type")) or "")
    if tool is None:
        return {}
    if tool == WEB_SEARCH and _is_no_search(as_mapping(item.get("action"))):
        return {}
    use_id = index
    if tool == _CODE_INTERPRETER:
        environment = as_mapping(item.get("environment"))
        if item.get("type") == "shell_call" and environment.get("type") != "container_reference":
            return {}
        use_id = as_str(item.get("container_id")) or as_str(environment.get("container_id"))
    return {key_of_use(tool, use_id): 1}


def _is_no_search(action: JSONObject) -> bool:
    return as_str(action.get("type")) not in (None, "search")


def _has_preview_search_only(tools: list[Any]) -> bool:
    names = [as_str(as_mapping(tool).get("type")) or "" for tool in tools]
    searches = [name for name in names if name.startswith(WEB_SEARCH)]
    return bool(searches) and all(name.startswith(PREVIEW_SEARCH) for name in searches)


def name_searches(uses: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the uses with the searches that the response calls billable, by the tool's name."""
    if _BILLABLE_SEARCHES not in uses and _SEARCH_TOOL not in uses:
        return uses
    rest = dict(uses)
    billable, tool = rest.pop(_BILLABLE_SEARCHES, None), rest.pop(_SEARCH_TOOL, WEB_SEARCH)
    searches = {key: rest.pop(key) for key in uses if key.partition("/")[0] == WEB_SEARCH}
    if billable is not None:
        return rest | {tool: billable}
    return rest | {key.replace(WEB_SEARCH, tool, 1): count for key, count in searches.items()}


def find_tool_uses_of_chat(
    event: JSONObject, choices: Iterable[JSONObject], model: str | None, has_usage: bool
) -> dict[str, Any]:
    """Return the uses of tools in a completion or in a chunk of a stream."""
    found: dict[str, Any] = {}
    search = _SEARCH_MODEL.search(model) if model is not None and has_usage else None
    if search is not None:
        found[PREVIEW_SEARCH if search[1] == "preview" else WEB_SEARCH] = 1
    if as_list(event.get(WEB_SEARCH)):  # Z.ai: the results of a search
        found[key_of_use(WEB_SEARCH, event.get("id"))] = 1
    for choice in choices:
        message: JSONObject = as_mapping(choice.get("message") or choice.get("delta"))
        found |= _find_tool_uses_of_message(message)
    return found


def _find_tool_uses_of_message(message: JSONObject) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tool in as_list(message.get("executed_tools")):
        fields = as_mapping(tool)
        found[key_of_use(as_str(fields.get("type")) or EXECUTED_TOOL, fields.get("index"))] = 1
    for call in map(as_mapping, as_list(message.get("tool_calls"))):
        if as_mapping(call.get("function")).get("name") == MOONSHOT_SEARCH:
            found[key_of_use(MOONSHOT_SEARCH, call.get("id"))] = 1
    if any(as_mapping(one).get("type") == "url_citation" for one in _annotations(message)):
        found[UNCOUNTED] = 1
    return found


def _annotations(message: JSONObject) -> list[Any]:
    return as_list(message.get("annotations"))
