"""One X-Request-ID a request: the caller's, if it is sane, else one that is made here.

Serve's proxy copies the header of the request into the response, whatever it holds, and
makes one where there is none. So the response needs no header from us, it would be the
second; what has to happen is that an insane one is gone before the proxy sees it: that is
done by `serve_app.front`.
"""

from __future__ import annotations

import re
import uuid

from starlette.types import Scope

HEADER = b"x-request-id"
SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def request_id(scope: Scope) -> str:
    """The caller's identifier, or a new one where it sent none, several or an insane one."""
    given = [value for name, value in scope["headers"] if name == HEADER]
    if len(given) == 1 and SANE.fullmatch(given[0]):
        return str(given[0], "ascii")
    return str(uuid.uuid4())
