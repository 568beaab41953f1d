"""Record the calls of a process into the local table: `promptcache.record` and `promptcache run`.

Nothing here loads the OpenTelemetry SDK before the first call.
"""

from promptcache_exporters.recording.recorder import Recording, record

__all__ = ["Recording", "record"]
