"""`pellucid segment`: classify each pixel of images, folders of images and videos."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import finish, say
from pellucid.command.pictures import SOURCE_HELP, pictures
from pellucid.errors import PellucidError
from pellucid.text import percent

MAX_CLASSES = 4  # per image in the text output


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("segment", "Classify each pixel of images of any size.")
    parser.model_argument()
    parser.add_argument("source", metavar="IMAGE|FOLDER|VIDEO", help=SOURCE_HELP)
    parser.add_argument(
        "--crf",
        action="store_true",
        help="refine the masks along image edges with a conditional random field (CRF; slower)",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="output folder")
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write files for each image, print the areas of its classes, and report on stderr why images were skipped."""
    from pellucid.tasks.segment.segmenter import Segmenter, check_files, write_segmentation

    segmenter, out = Segmenter(open_model(args.model, args.device), args.crf), Path(args.out)
    rows: list[dict[str, Any]] = []
    faults: dict[str, str] = {}
    for name, file, read, _ in pictures(Path(args.source), segmenter.mode, partial(check_files, out)):
        try:
            image = read()
            found = segmenter(image)
        except PellucidError as error:
            faults[file] = str(error)
            continue
        files = write_segmentation(out, name, image, found)
        areas = found.areas()
        rows.append({"image": file, "files": files, "areas": areas})
        if not args.json:
            largest = sorted(areas.items(), key=lambda pair: -pair[1])[:MAX_CLASSES]
            say(f"{files['overlay']}: {', '.join(f'{name} {percent(area)}' for name, area in largest if area)}")
    return finish(args, {"model": args.model, "pictures": rows}, faults)
