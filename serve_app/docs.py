"""``GET /docs``: the interface to read and try, from this host alone and under a policy."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from serve_app.guard import ASSETS

INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add_docs(app: FastAPI) -> None:
    """The page and what it loads; Swagger UI itself comes with the package fastapi-offline."""
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_offline") / "static")))
    app.add_route("/docs", page, include_in_schema=False)


async def page(request: Request) -> HTMLResponse:
    """Swagger UI over the OpenAPI document."""
    root = request.scope.get("root_path", "")
    answer = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Heart on Ray",
        swagger_js_url=f"{root}{ASSETS}swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}favicon.png",
    )
    answer.headers["Content-Security-Policy"] = policy(bytes(answer.body))
    return answer


def policy(html: bytes) -> str:
    """A policy that runs the page's inline scripts, by their hashes, and no other.

    Swagger UI sets styles inline, and draws with images of ``data:``.
    """
    digests = [hashlib.sha256(script).digest() for script in INLINE_SCRIPT.findall(html)]
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
