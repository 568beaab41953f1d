"""The program of the second process: import paths as in the first one, then pytest."""

from __future__ import annotations

import json
import os
import sys

if __name__ == "__main__":
    sys.path[:] = json.loads(os.environ["PROMPTCACHE_SECOND_RUN"])["import_paths"]

    import pytest

    sys.exit(pytest.console_main())
