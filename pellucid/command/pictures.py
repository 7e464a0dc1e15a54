"""Predict on the images of the arguments IMAGE|FOLDER|VIDEO and --camera: one loop for all commands."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pellucid.command.args import Parser
from pellucid.command.out import emit, note_skipped, say
from pellucid.errors import PellucidError
from pellucid.predictor import SOURCE_HELP, Predictor, camera_pictures, pictures, predicted, write_csv


def add_source(parser: Parser) -> Parser:
    """Add the arguments that `predict_pictures` needs, and return the parser."""
    parser.add_argument("source", metavar="IMAGE|FOLDER|VIDEO", nargs="?", help=SOURCE_HELP)
    parser.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    return parser


def check_source(args: argparse.Namespace) -> None:
    """Raise PellucidError unless exactly one source is given."""
    if (args.camera is not None) == bool(args.source):
        raise PellucidError(f"give either {SOURCE_HELP}, or --camera N")


def predict_pictures(args: argparse.Namespace, predictor: Predictor, table: Path | None = None, **about: Any) -> int:
    """Predict on all pictures that can be read, print each result, and return the exit code.

    table: the CSV file to write. about: values for the JSON object besides those of the predictor. Why pictures were
    skipped is printed on stderr, each message once. Raises PellucidError unless exactly one source is given.
    """
    check_source(args)
    rows: list[Mapping[str, Any]] = []
    lines: list[Mapping[str, Any]] = []  # of the CSV file
    written: list[Path] = []
    faults: dict[str, str] = {}
    camera = args.camera is not None
    found = camera_pictures(args.camera, predictor) if camera else pictures(args.source, predictor)
    with until_interrupted(args):
        for one in predicted(predictor, found, faults, f"camera {args.camera}" if camera else str(args.source), camera):
            rows.append(one.values)
            written += [] if one.file is None else [one.file]
            lines += [] if table is None else one.table()
            if not args.json:
                say(one.line)
    skipped = note_skipped(faults)
    if rows:
        values, file = predictor.finish(rows)
        if video := _video(args.source, written):
            values = {**values, "video": str(video)}
            if not args.json:
                say(f"wrote {video}")
        if table is not None:
            write_csv(table, lines)
            values, file = {**values, "table": str(table)}, table
        if args.json:
            emit({"model": args.model, **about, **values, "skipped": skipped})
        elif file is not None:
            say(f"wrote {file}")
    return 2 if faults else 0


def _video(source: str | Sequence[str] | None, frames: Sequence[Path]) -> Path | None:
    """Return a video of the pictures written for a video's frames; None for other sources, and without OpenCV."""
    files = [source] if isinstance(source, str) else [*(source or ())]
    if len(frames) < 2 or len(files) != 1 or find_spec("cv2") is None:
        return None
    from pellucid.data.video_output import is_video, write_video

    return write_video(Path(files[0]), frames) if is_video(Path(files[0])) else None


def until_interrupted(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Return a context that ends without an error at Ctrl-C if the images are from a camera."""
    return nullcontext() if args.camera is None else suppress(KeyboardInterrupt)
