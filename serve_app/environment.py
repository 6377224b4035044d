"""What Ray has to know before it starts: its processes inherit these variables."""

from __future__ import annotations

import os

VARIABLES = {
    # Ray starts workers at nice 15; a replica that shares cores with a search would starve.
    "RAY_worker_niceness": "0",
    # The age of what /metrics tells, 10 s by default.
    "RAY_metrics_report_interval_ms": "2000",
    # Refuses an X-Request-ID before Serve's proxy takes it over.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.request_id:proxy_middlewares",
}


def prepare_ray() -> None:
    """Set each variable unless the caller has; without effect on a Ray that runs already."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
