"""Bedrock's InvokeModel with Anthropic's own body.

Source: botocore 1.43 (bedrock-runtime, `InvokeModelRequest`) and AWS's page on Claude's Messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.harness.frozen_json import canonical_json
from promptcache.harness.names import Message
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.wires.anthropic_messages import AnthropicLayout

_VERSION: Final = "bedrock-2023-05-31"
"""The only version of the body that Bedrock accepts."""


class InvokeModelLayout(AnthropicLayout):
    """The Messages layout as a JSON body. The parameters of a call are part of the body."""

    wire = "invoke_model"
    reserved_arguments = AnthropicLayout.reserved_arguments | {"anthropic_version"}
    names_model = False

    def finish(self, arguments: Message, params: Mapping[str, Any]) -> Message:
        if "max_tokens" not in params:
            raise PromptError("params.max_tokens", "is missing, and this wire's body needs it")
        body = {name: value for name, value in arguments.items() if name != "model"}
        return {
            "modelId": arguments["model"],
            "contentType": "application/json",
            "accept": "application/json",
            "body": canonical_json({"anthropic_version": _VERSION, **params, **body}),
        }
