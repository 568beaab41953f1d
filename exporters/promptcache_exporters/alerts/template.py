"""Templates of YAML files, as package data in `templates/`.

They are text, because the files have comments, and because `promptcache alerts` must not need
PyYAML.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

TEMPLATES_DIR: Final = Path(__file__).parent / "templates"


class YamlTemplate(Template):
    """A template with `@{name}`. The YAML itself has many `$`, but no `@`."""

    delimiter = "@"


def render_yaml_template(template_name: str, /, **values: str) -> str:
    """Return the template `templates/TEMPLATE.yaml.tmpl` with its values."""
    path = TEMPLATES_DIR / f"{template_name}.yaml.tmpl"
    return YamlTemplate(path.read_text(encoding="utf-8")).substitute(values)
