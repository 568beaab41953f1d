"""Terraform's JSON syntax.

Source: developer.hashicorp.com/terraform/language/syntax/json, November 2026.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = "str | int | float | list[Json] | dict[str, Json] | None"


class TerraformExpression(str):
    """An expression of Terraform. Other strings are literals, whose templates are escaped."""


def resource_id_expression(resource_type: str, name: str) -> TerraformExpression:
    """Return the expression for the id of a resource."""
    return TerraformExpression(f"${{{resource_type}.{name}.id}}")


def render_terraform_json(
    header: Sequence[str],
    providers: Mapping[str, Any],
    resources: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> str:
    """Return a module: resources by type and name.

    The attribute `query_json` of a resource is a JSON string, written as `jsonencode` writes it, so
    that a state from an older module in HCL shows no change. `//` is Terraform's key for comments.
    """
    document = {
        "//": list(header),
        "terraform": {"required_providers": providers},
        "resource": {
            resource_type: {
                name: _encode_resource_attributes(body) for name, body in by_name.items()
            }
            for resource_type, by_name in resources.items()
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _encode_resource_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _escape_template_markers(
            _terraform_jsonencode(value) if name == "query_json" else value
        )
        for name, value in attributes.items()
    }


def _terraform_jsonencode(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _escape_template_markers(value: Json) -> Json:
    """Escape `${` and `%{` in all literal strings, which Terraform would evaluate."""
    if isinstance(value, TerraformExpression):
        return value
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, dict):
        return {key: _escape_template_markers(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_escape_template_markers(item) for item in value]
    return value
