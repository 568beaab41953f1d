"""The beginning of the paths of the Gemini API and of Vertex AI."""

from __future__ import annotations

from typing import Final

VERSION_PATH: Final = r"/v\d\w*(/projects/[^/]+/locations/[^/]+)?"
"""A regular expression: `/v1beta`, or `/v1/projects/PROJECT/locations/LOCATION`."""
