"""The page at ``/``: a form made from `heart.attributes`, its style and its script.

The template is rendered once a replica. The page asks this service alone, sends words rather
than codes, and leaves it to the service to say what is wrong with a value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

import jinja2
from starlette.requests import Request
from starlette.responses import Response

from heart import intended_use
from heart.attribute import Attribute
from heart.attributes import BY_NAME

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Person and complaint": ("age", "sex", "cp"),
    "At rest": ("trestbps", "chol", "fbs", "restecg"),
    "Exercise test": ("thalach", "exang", "oldpeak", "slope"),
    "Imaging": ("ca", "thal"),
}
"""The attributes as a clinic comes by them; a test holds that each is there, once."""
SPELT: Final[Mapping[str, str]] = {
    "non_anginal_pain": "non-anginal pain",
    "st_t_abnormality": "ST-T abnormality",
}
"""Words that take more than spaces to be read; the others are spelt by `spelt`."""
ROW: Final = 2
"""Choices that fit beside another field, "not known" among them; more take the whole width."""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",  # the icon, which is part of the page
        "base-uri 'none'",
        "form-action 'none'",  # should the script fail, no value goes into an address
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
"""The Content-Security-Policy of the page: its own files, and nothing inline."""


@dataclass(frozen=True)
class Asset:
    """One of the page's files, as it is answered."""

    content: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, content: str, media_type: str, **headers: str) -> Asset:
        """A file with the headers that let a browser keep it and ask whether it still holds."""
        encoded = content.encode()
        tag = hashlib.sha256(encoded).hexdigest()[:32]
        common = {"etag": f'"{tag}"', "cache-control": "no-cache"}
        return cls(encoded, {**common, "content-type": f"{media_type}; charset=utf-8", **headers})

    async def answer(self, request: Request) -> Response:
        """The file, or 304 to a browser that has it."""
        if self._is_had(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)

    def _is_had(self, tags: str) -> bool:
        """Whether If-None-Match names this file (RFC 9110: weakly compared)."""
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return bool(known & {self.headers["etag"], "*"})


def assets() -> dict[str, Asset]:
    """The page's files by the path that each is served at."""
    folder = resources.files("serve_app") / "page"
    return {
        "/": Asset.of(render(), "text/html", **{"content-security-policy": POLICY}),
        "/page.css": Asset.of((folder / "page.css").read_text("utf-8"), "text/css"),
        "/page.js": Asset.of((folder / "page.js").read_text("utf-8"), "text/javascript"),
    }


def render() -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("serve_app", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"spelt": spelt, "sentence": sentence}
    return environment.get_template("index.html").render(
        sections=dict(sections()), use=intended_use, row=ROW
    )


def sections() -> Iterator[tuple[str, list[Attribute]]]:
    """The attributes under the heading that each stands under."""
    for title, names in SECTIONS.items():
        yield title, [BY_NAME[name] for name in names]


def spelt(word: str) -> str:
    """The word of a code as people write it."""
    return SPELT.get(word, word.replace("_", " "))


def sentence(text: str) -> str:
    """A text with its first letter large, and the others as they are."""
    return text[:1].upper() + text[1:]
