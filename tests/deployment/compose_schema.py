"""The compose files have the form of the Compose Specification, and a misspelt one has not.

Run by `make deployment`, or by hand, with the folder of the Go module of compose-go:

    python tests/deployment/compose_schema.py MODULE COMPOSE.yaml ...

This file runs in an environment with jsonschema and PyYAML, and without promptcache.
"""

from __future__ import annotations

import copy
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

JSONSCHEMA: Any = import_module("jsonschema")  # not installed with promptcache, so it has no types
YAML: Any = import_module("yaml")


def misspelt_documents(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return copies of a document with one mistake each."""
    name = next(iter(document["services"]))
    documents = [copy.deepcopy(document) for _ in range(3)]
    documents[0]["servics"] = documents[0].pop("services")
    documents[1]["services"][name]["imge"] = "x"
    documents[2]["services"][name]["depends_on"] = {name: {"condition": "ready"}}
    return documents


def main(module: str, *paths: str) -> None:
    """Validate each file."""
    schema = json.loads((Path(module) / "schema" / "compose-spec.json").read_text())
    validator = JSONSCHEMA.Draft7Validator(schema)
    for path in paths:
        document = YAML.safe_load(Path(path).read_text())
        errors = [
            f"{path}: {error.json_path}: {error.message}"
            for error in validator.iter_errors(document)
        ]
        if errors:
            sys.exit("\n".join(errors))
        if any(map(validator.is_valid, misspelt_documents(document))):
            sys.exit(f"The schema does not see a mistake in {path}.")
        print(f"{path}: valid; 3 mistakes are refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
