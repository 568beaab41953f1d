from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from tests.frameworks import SYSTEM, langchain

ChatBedrockConverse: Final[Any] = import_module("langchain_aws").ChatBedrockConverse
MODEL: Final = "us.anthropic.claude-sonnet-4-6"
CACHE_POINT: Final = {"cachePoint": {"type": "default"}}
CONFIG: Final = import_module("botocore.config").Config(retries={"max_attempts": 0})


def converse(url: str) -> Any:
    return ChatBedrockConverse(
        model=MODEL,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=CONFIG,
    )


CACHED_SYSTEM_BLOCKS: Final = [{"type": "text", "text": SYSTEM}, CACHE_POINT]
CASES: Final = langchain.make_cases(converse, CACHED_SYSTEM_BLOCKS)
FALLBACKS: Final = langchain.make_fallbacks(converse, CACHED_SYSTEM_BLOCKS)
