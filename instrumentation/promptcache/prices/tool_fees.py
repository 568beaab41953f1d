"""What server tools cost beside the tokens, where the seller or the request decides it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from promptcache.common.coerce import as_list, as_mapping, as_str
from promptcache.model import Request, Usage
from promptcache.prices import table
from promptcache.prices.rates import Rates
from promptcache.prices.table import STANDARD_TIER, PriceRow

_BUILT_IN_TOOLS: Final = "built-in-tools"
"""The row of a list with the fees that hold for all models of the seller."""
_TOOL_WITH_FREE_CODE: Final = re.compile(r"web_(?:search|fetch)_(?!2025)20\d{6}")
"""Anthropic's code execution costs nothing beside these tools (code execution page, 2026)."""
_MAKERS_WITH_FEES_OF_SELLER: Final = ("azure", "openai")


def apply_request_to_tools(request: Request, usage: Usage) -> Usage:
    """Return the usage with the server tools as they are billed."""
    if not usage.server_tool_calls:
        return usage
    calls = dict(usage.server_tool_calls)
    tools = [as_mapping(tool) for tool in as_list(request.body.get("tools"))]
    types = [as_str(tool.get("type")) or "" for tool in tools]
    if any(map(_TOOL_WITH_FREE_CODE.match, types)):
        calls.pop("code_execution", None)
    if "web_search" in calls and any(map(_is_enterprise_search, tools)):
        calls["enterprise_web_search"] = calls.pop("web_search")
    return usage._replace(server_tool_calls=calls)


def _is_enterprise_search(tool: Mapping[str, Any]) -> bool:
    return "enterpriseWebSearch" in tool or "enterprise_web_search" in tool


def use_fees_of_seller(rates: Rates, row: PriceRow | None, seller: str) -> Rates:
    """Return the rates with the fees of the seller, if another vendor's list has the model.

    `seller` is the price list of the provider. A tool without a fee there has an unknown fee.
    """
    if row is None or not row.vendor or row.vendor not in (*_MAKERS_WITH_FEES_OF_SELLER, seller):
        return rates
    own = table.find_price_row(seller, (_BUILT_IN_TOOLS,))
    if own is None:
        return rates if row.vendor == seller else rates._replace(tool_prices={})
    (period, *_) = own.periods_of_tier(STANDARD_TIER, 1.0)
    return rates._replace(tool_prices=period.rates_by_band[0].tool_prices)
