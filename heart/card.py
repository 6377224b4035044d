"""The model card of a version, in Markdown and in HTML, from the version's artefacts alone.

``python -m heart.card [VERSION]`` writes ``card.md`` and ``card.html``, one page that loads
nothing, to ``cards/<version>/`` under HEART_HOME.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2

from heart import card_sections, promotions, tripod
from heart.card_facts import Card
from heart.card_figures import inline
from heart.card_tables import BAD
from heart.errors import run_main
from heart.files import write_whole
from heart.settings import Settings, keep_private

ESCAPES: Final = str.maketrans(
    {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;", "&": "&amp;"}
)


def markdown(card: Card) -> str:
    """The card as Markdown with tables as GitHub has them."""
    return _render("card.md", card)


def html(card: Card) -> str:
    """The card as one HTML page with its figures in it."""
    return _render("card.html", card)


def write(card: Card, folder: Path) -> tuple[Path, Path]:
    """Write both; raises `StorageError` where the folder cannot be written."""
    paths = folder / "card.md", folder / "card.html"
    for path, text in zip(paths, (markdown(card), html(card)), strict=True):
        write_whole(path, text.encode())
    return paths


def plain(text: str) -> str:
    """Any text as one line of Markdown that means nothing but itself, in a table too."""
    return " ".join(text.split()).translate(ESCAPES).replace("](", "]\\(")


def _render(name: str, card: Card) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("heart", "templates"),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "inline": inline}
    return environment.get_template(name).render(
        card=card,
        warnings=list(card_sections.warnings(card)),
        sections=card_sections.sections(card),
        items=tripod.items(card),
        reference=tripod.REFERENCE,
        bad=BAD,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the card of a version; the exit code."""
    # Imported here because who renders a card of a bundle at hand needs no MLflow.
    from heart.registry import Registry
    from heart.store import connect
    from heart.versions import ALIASES, CHAMPION

    parser = argparse.ArgumentParser(
        prog="python -m heart.card", description="Write the card of a version of the model."
    )
    parser.add_argument(
        "version",
        nargs="?",
        default=CHAMPION,
        help=f"a number, {', '.join(ALIASES)}; default: {CHAMPION}",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: under HEART_HOME")
    options = parser.parse_args(arguments)
    keep_private()
    settings = Settings.from_environment()
    registry = Registry(connect(settings), settings)
    bundle = registry.load(registry.resolve(options.version))
    card = Card.of(bundle, promotions.read(settings.promotions))
    folder = options.out or settings.home.resolve() / "cards" / card.version
    for path in write(card, folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
