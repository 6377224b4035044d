"""The service on Ray Serve: ``serve run serve_app:app``.

Importing this package sets the variables that Ray reads when it starts, and nothing else:
`app` is built when it is asked for, so that the proxies and replicas, which import the
package too, build none.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from heart.errors import UsageError
from heart.settings import Settings, keep_private
from serve_app.environment import prepare_ray

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["app"]

keep_private()
prepare_ray()


def __getattr__(name: str) -> Application:
    """Build ``app`` from the ``HEART_*`` variables; a wrong one ends the command in one line."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve_app.deployment import build
    from serve_app.starting import start

    try:
        settings = Settings.from_environment()
        built = build(settings)
    except UsageError as error:
        print(f"error: {error.message}", file=sys.stderr)
        raise SystemExit(2) from None
    start(settings)
    return built
