"""A celery application whose processes live for one task. Its broker is a folder."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final

from tests.processes.app import make_call

BROKER_FOLDER: Final = os.environ.get("BROKER", ".")
_celery: Any = import_module("celery")
celery: Final[Any] = _celery.Celery(
    "tasks",
    broker="filesystem://",
    broker_transport_options={
        "data_folder_in": BROKER_FOLDER,
        "data_folder_out": BROKER_FOLDER,
        "control_folder": BROKER_FOLDER,
    },
    worker_max_tasks_per_child=1,
    worker_concurrency=2,
    task_ignore_result=True,
)


call_model: Final[Any] = celery.task(name="call_model")(make_call)
