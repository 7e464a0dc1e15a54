"""Predict on the images of the arguments SOURCE and --camera, with one loop that all commands use."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser
from pellucid.command.files import check_output_path
from pellucid.command.out import OWN_ENGINE, note_skipped, print_json, print_lines
from pellucid.data.skipping import note_skipped_names, skips
from pellucid.predictor import SOURCE_HELP, Predictor, camera_pictures, pictures_of, valid_predictions, write_csv

MANY_HELP = "for many pictures a .zip, .tar files, a .txt file of paths or addresses, or an address such as s3://"


def add_source(parser: Parser) -> Parser:
    """Add the arguments that `print_predictions` needs, and return the parser."""
    parser.add_argument("source", metavar="SOURCE", nargs="?", help=f"{SOURCE_HELP}; or {MANY_HELP}")
    parser.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    return parser


def check_source(args: argparse.Namespace) -> None:
    """Raise PellucidError unless exactly one source is given."""
    if (args.camera is not None) == bool(args.source):
        raise PellucidError(f"give either {SOURCE_HELP}, or --camera N")


def print_predictions(
    args: argparse.Namespace, make_predictor: Callable[[Path | None], Predictor], **about: Any
) -> int:
    """Predict on all pictures that can be read, print each result, and return the exit code.

    Many pictures are predicted part by part, into files that a later run continues, see `are_results_in_parts`.
    make_predictor: a function of a folder, or None, that returns a predictor which writes its files into the folder.
    about: additional values of the printed JSON. Why pictures were skipped is printed on stderr, each message once, and
    the exit code is 2; with data.skip=true one note counts them, and it is 0. Raises PellucidError unless exactly one
    source is given.
    """
    from pellucid.command.many import are_results_in_parts, predict_in_parts

    check_source(args)
    if args.camera is None and are_results_in_parts(args.source, args.out):
        return predict_in_parts(args, args.source, make_predictor, **about)
    csv_path = (
        check_output_path(args.out, "--out") if args.out is not None and args.out.lower().endswith(".csv") else None
    )
    predictor = make_predictor(None if args.out is None or csv_path is not None else Path(args.out))
    if args.out is None and predictor.folder_required_reason:
        raise PellucidError(predictor.folder_required_reason)
    if csv_path is None and args.out is not None and not predictor.writes_files:
        raise PellucidError(f"{args.model} writes no files into {args.out}, only a table; give --out FILE.csv")
    rows: list[Mapping[str, Any]] = []
    csv_rows: list[Mapping[str, Any]] = []
    written_files: list[Path] = []
    skipped_reasons: dict[str, str] = {}
    is_camera = args.camera is not None
    sources = pictures_of(args.source, predictor) if args.camera is None else camera_pictures(args.camera, predictor)
    with until_interrupted(args):
        for prediction in valid_predictions(
            predictor, sources, skipped_reasons, f"camera {args.camera}" if is_camera else str(args.source), is_camera
        ):
            rows.append(prediction.values)
            written_files += [] if prediction.file is None else [prediction.file]
            csv_rows += [] if csv_path is None else prediction.table()
            if not args.json:
                print_lines(prediction.line)
    if skips():
        names = [args.source] if isinstance(args.source, str) else [*(args.source or ())]
        note_skipped_names(", ".join(names[:3]), [*skipped_reasons], len(rows) + len(skipped_reasons))
    skipped_values = note_skipped(skipped_reasons, is_silent=skips())
    if rows:
        values, result_file = predictor.finish(rows)
        if video := _write_video(args.source, written_files):
            values = {**values, "video": str(video)}
            if not args.json:
                print_lines(f"wrote {video}")
        if csv_path is not None:
            write_csv(csv_path, csv_rows)
            values, result_file = {**values, "table": str(csv_path)}, csv_path
        if args.json:
            print_json({"model": args.model, "engine": OWN_ENGINE, **about, **values, "skipped": skipped_values})
        elif result_file is not None:
            print_lines(f"wrote {result_file}")
    return 2 if skipped_reasons and not skips() else 0


def _write_video(source: str | Sequence[str] | None, frames: Sequence[Path]) -> Path | None:
    """Write the pictures of a video's frames as a video, and return its path; None for other sources or no OpenCV."""
    sources = [source] if isinstance(source, str) else [*(source or ())]
    if len(frames) < 2 or len(sources) != 1 or find_spec("cv2") is None:
        return None
    from pellucid.data.video_output import is_video, write_video

    return write_video(Path(sources[0]), frames) if is_video(Path(sources[0])) else None


def until_interrupted(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Return a context that ends without an error at Ctrl-C if the images are from a camera."""
    return nullcontext() if args.camera is None else suppress(KeyboardInterrupt)
