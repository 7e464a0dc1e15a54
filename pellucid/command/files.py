"""Check the output files that options name, and write the HTML page of `--html`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile


def check_output_path(file: str, option: str, suffixes: Sequence[str] = ()) -> Path:
    """Return the output file of an option as a path; raise PellucidError if it cannot be written.

    Called before any work is done. suffixes: the allowed suffixes, () for any.
    """
    from pellucid.base.errors import PellucidError

    path = Path(file)
    if suffixes and path.suffix not in suffixes:
        raise PellucidError(f"{option} {file} does not end in {' or '.join(suffixes)}; change the ending")
    try:
        if not path.parent.is_dir():
            raise PellucidError(f"{option} {file} is in a folder that does not exist; create it first")
        if path.is_dir():
            raise PellucidError(f"{option}: {file!r} is a folder; name a file in it")
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"):
            pass  # `write_atomically` creates such a temporary file, so it must be possible
    except OSError as error:
        raise PellucidError(f"{option}: {file!r} cannot be written ({error.strerror}); check its folder") from error
    return path


def check_folder(folder: Path) -> Path:
    """Return an output folder, which need not exist; raise PellucidError if the folder or a parent is a file."""
    from pellucid.base.errors import PellucidError

    file = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    if file.exists() and not file.is_dir():
        raise PellucidError(f"--out: {str(file)!r} is a file; name a folder")
    return folder


def html_output_path(args: argparse.Namespace) -> Path | None:
    """Return the file of `--html`, or None without the option; raise PellucidError if it cannot be written."""
    return None if args.html is None else check_output_path(args.html, "--html")


def write_html(path: Path, body: str, title: str) -> None:
    """Write an HTML page with this body and title; raise PellucidError if the file cannot be written."""
    from pellucid.base.files import write_atomically
    from pellucid.report.page import document

    write_atomically(path, document(body, title).encode())
