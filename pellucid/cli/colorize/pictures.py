"""`pellucid colorize MODEL SOURCE`: colorize images, folders of images and videos."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP
from pellucid.cli.pictures import add_source
from pellucid.files import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from pellucid.tasks.colorize import Hint

PAGE_INTERVAL = 12  # the page shows every 12th frame of a video


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "colorize",
        "Colorize images of any size, keeping their lightness.",
        epilog="`pellucid colorize compare` measures several models on the same images, and `pellucid colorize real` "
        "writes a page that asks people which of two images is real; --help explains each.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_source(parser)
    parser.add_argument("--out", metavar="DIR", required=True, help="output folder, for PNG files and colorized.html")
    parser.add_argument(
        "--strength",
        metavar="S",
        type=float,
        default=1.0,
        help="factor of the colour channels, from 0 (grey) to 2 (default: 1)",
    )
    parser.add_argument(
        "--hints",
        metavar="FILE",
        help='given colours of pixels: a JSON list [{"x": 12, "y": 30, "color": "#c03020"}], or for a folder an '
        "object of such lists by file name; only for models trained with hints",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write a file for each image, and report on stderr why images were skipped."""
    import torch

    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, note_skipped, say
    from pellucid.cli.pictures import Picture, read_batches, until_interrupted
    from pellucid.data.images import load_channels
    from pellucid.errors import PellucidError
    from pellucid.metrics import colourfulness_rgb
    from pellucid.tasks.colorize import Colorizer, Smoothing, check_files, lightness_of, write_colorized
    from pellucid.tasks.colorize.written import Pairs

    colorizer, out = Colorizer(open_model(args.model, args.device), args.strength), Path(args.out)
    hints = {} if args.hints is None else _hints(args)
    smoothing, pairs = Smoothing(), Pairs()
    rows: list[dict[str, Any]] = []
    faults: dict[str, str] = {}

    def colorize(picture: Picture, image: torch.Tensor) -> None:
        lightness = lightness_of(image)
        ab = colorizer.ab(lightness[None], hints.get(picture.file, ()))[0]
        if picture.frame is not None:
            ab = smoothing(lightness, ab)
        found = colorizer.painted(image, lightness, ab)
        file = write_colorized(out, picture.name, found)
        if not pairs.full and (picture.frame or 0) % PAGE_INTERVAL == 0:
            pairs.add(picture.file, image, colorizer.painted(image, lightness, torch.zeros_like(ab)), found)
        colourful = float(colourfulness_rgb(found[None, :3] / 255))
        _, height, width = found.shape
        row = {"image": picture.file, "file": str(file), "height": height, "width": width, "colourfulness": colourful}
        rows.append(row)
        if not args.json:
            say(f"{file}: {width}x{height}, colourfulness {colourful:.1f}")

    with until_interrupted(args):
        for batch in read_batches(args, "RGB", partial(check_files, out), faults, load_channels):
            for picture, image in batch:
                try:
                    colorize(picture, image)
                except PellucidError as error:
                    faults[picture.file] = str(error)
    page = str(pairs.write(out, f"Colorized by {args.model}", len(rows))) if rows else None
    skipped = note_skipped(faults)
    if args.json and rows:
        emit({"model": args.model, "strength": args.strength, "pictures": rows, "page": page, "skipped": skipped})
    elif page:
        say(f"wrote {page}")
    return 2 if faults else 0


def _hints(args: argparse.Namespace) -> "dict[str, tuple[Hint, ...]]":
    """Return the hints of `--hints` by file name; raises PellucidError for names that the source lacks."""
    from pellucid.errors import PellucidError
    from pellucid.tasks.colorize import read_hints

    file, source = args.hints, Path(args.source or "")
    if args.camera is not None or (source.is_file() and source.suffix.lower() not in PICTURE_SUFFIXES):
        raise PellucidError(f"--hints {file} is for images, not for a video or a camera; leave it out")
    found = read_hints(Path(file))
    if "" not in found:
        folder = source if source.is_dir() else source.parent
        missing = next((name for name in found if not (folder / name).is_file()), None)
        if missing is not None:
            raise PellucidError(
                f"--hints {file} names {missing!r}, which is not in {folder}; give names of files in it"
            )
        return found
    if not source.is_file():
        raise PellucidError(
            f"--hints {file} contains one list, which is for one image; give an object of lists by file name"
        )
    return {source.name: found[""]}
