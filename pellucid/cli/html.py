"""The page that `--html` asks for: what a command prints, as notebooks show it."""

import argparse
from pathlib import Path


def html_place(args: argparse.Namespace) -> Path | None:
    """Return the file to write, None for none; PellucidError, before any work, where its folder does not exist."""
    from pellucid.errors import PellucidError

    if args.html is None:
        return None
    place = Path(args.html).absolute()
    if not place.parent.is_dir():
        raise PellucidError(f"--html: the folder of {args.html!r} does not exist; make it first")
    return place


def write_html(place: Path, body: str, title: str) -> None:
    """Write the page; PellucidError where the place cannot be written."""
    from pellucid.style import document
    from pellucid.train.files import write_atomically

    write_atomically(place, document(body, title).encode())
