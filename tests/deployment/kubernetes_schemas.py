"""kubeconform accepts every Kubernetes resource of this repository, and refuses a misspelt one.

Run by `make deployment`, or by hand, with the folders of two Go modules:

    python -m tests.deployment.kubernetes_schemas KUBECONFORM KUBECTL_MODULE OPERATOR_MODULE PYTHON

Schemas of Kubernetes come from the module k8s.io/kubectl, those of the OpenTelemetry Operator from
its module, and those of the Prometheus Operator from cloudcoil-models-prometheus-operator, a
package that PYTHON has. By itself kubeconform would load schemas from a place that may be gone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import yaml

from promptcache.common.coerce import as_list

ROOT: Final = Path(__file__).parents[2]
RESOURCES: Final = (
    ROOT / "deploy" / "kubernetes",
    ROOT / "exporters" / "promptcache_exporters" / "alerts" / "generated" / "kubernetes",
)
SCHEMA_OF_MODEL: Final = """
import json, sys
from cloudcoil.models.prometheus_operator import v1
json.dump(getattr(v1, sys.argv[1]).model_json_schema(by_alias=True), sys.stdout)
"""
MISSPELT: Final = {
    "endpoint: http": "endpint: http",
    "containers:": "containrs:",
    "groups:": "group:",
    "honorLabels: true": "honourLabels: true",
    "replicas: 1": "replicas: one",
    "mode: deployment": "mode: deploy",
}
"""A text of a resource, and the text that makes the resource invalid."""


def close_objects(schema: Any) -> Any:
    """Return a schema in which an object has no other fields than the listed ones."""
    if isinstance(schema, list):
        return [close_objects(one) for one in as_list(cast("object", schema))]
    if not isinstance(schema, dict):
        return schema
    closed: dict[str, Any] = {
        key: close_objects(value) for key, value in cast("dict[str, Any]", schema).items()
    }
    is_open = closed.get("x-kubernetes-preserve-unknown-fields") or not closed.get("properties")
    if not is_open:
        closed.setdefault("additionalProperties", False)
    return closed


def kubernetes_schema(swagger: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{name}", "definitions": close_objects(swagger["definitions"])}


def custom_schemas(path: Path) -> dict[str, Any]:
    """Return the schemas of a custom resource definition by version."""
    definition = yaml.safe_load(path.read_text())
    return {
        version["name"]: close_objects(version["schema"]["openAPIV3Schema"])
        for version in definition["spec"]["versions"]
    }


def model_schema(python: str, kind: str) -> Any:
    done = subprocess.run(
        [python, "-c", SCHEMA_OF_MODEL, kind], check=True, capture_output=True, text=True
    )
    return close_objects(json.loads(done.stdout))


def write_schemas(folder: Path, kubectl: Path, operator: Path, python: str) -> None:
    """Write the schema of each kind that the resources have, as KIND-VERSION.json."""
    swagger = json.loads((kubectl / "testdata" / "openapi" / "swagger.json").read_text())
    schemas = {"deployment-v1": kubernetes_schema(swagger, "io.k8s.api.apps.v1.Deployment")}
    for kind, plural in (
        ("instrumentation", "instrumentations"),
        ("opentelemetrycollector", "opentelemetrycollectors"),
    ):
        path = operator / "config" / "crd" / "bases" / f"opentelemetry.io_{plural}.yaml"
        schemas |= {f"{kind}-{version}": schema for version, schema in custom_schemas(path).items()}
    for kind in ("PrometheusRule", "ServiceMonitor"):
        schemas[f"{kind.lower()}-v1"] = model_schema(python, kind)
    for name, schema in schemas.items():
        (folder / f"{name}.json").write_text(json.dumps(schema))


def run_kubeconform(program: str, schemas: Path, *paths: Path) -> tuple[int, str]:
    location = str(schemas / "{{.ResourceKind}}-{{.ResourceAPIVersion}}.json")
    done = subprocess.run(
        [program, "-strict", "-summary", "-schema-location", location, *paths],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def main(program: str, kubectl: str, operator: str, python: str) -> None:
    """Check all resources, and then each misspelt one."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_schemas(folder, Path(kubectl), Path(operator), python)
        code, output = run_kubeconform(program, folder, *RESOURCES)
        print(output.strip())
        if code:
            sys.exit("kubeconform refuses a resource.")
        paths = [path for resources in RESOURCES for path in sorted(resources.glob("*.yaml"))]
        for right, wrong in MISSPELT.items():
            path = next(path for path in paths if right in path.read_text())
            changed = folder / path.name
            changed.write_text(path.read_text().replace(right, wrong, 1))
            code, _ = run_kubeconform(program, folder, changed)
            if not code:
                sys.exit(f"kubeconform does not see {wrong!r} in {path.name}.")
        print(f"{len(MISSPELT)} misspelt resources are refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
