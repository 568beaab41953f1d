"""Terraform's JSON syntax.

Source: developer.hashicorp.com/terraform/language/syntax/json, November 2026.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = "str | int | float | list[Json] | dict[str, Json] | None"


class Reference(str):
    """An expression of Terraform. Other strings are literals, whose templates are escaped."""


def reference(resource_type: str, name: str) -> Reference:
    """Return the expression for the id of a resource."""
    return Reference(f"${{{resource_type}.{name}.id}}")


def render_terraform(
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
            resource_type: {name: _render_resource(body) for name, body in by_name.items()}
            for resource_type, by_name in resources.items()
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _render_resource(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _escape_templates(_jsonencode(value) if name == "query_json" else value)
        for name, value in body.items()
    }


def _jsonencode(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _escape_templates(value: Json) -> Json:
    """Escape `${` and `%{` in all literal strings, which Terraform would evaluate."""
    if isinstance(value, Reference):
        return value
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, dict):
        return {key: _escape_templates(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_escape_templates(item) for item in value]
    return value
