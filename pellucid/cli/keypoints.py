"""`pellucid keypoints`: find the key-points of the object in images, folders of images and videos."""

import argparse
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP
from pellucid.cli.pictures import HELP

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.cli.pictures import Picture

T = TypeVar("T")
BATCH = 16  # pictures at a time


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("keypoints", "Find the key-points of the one object that fills each image, such as a face.")
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument("source", metavar="IMAGE|FOLDER|VIDEO", help=HELP)
    it.add_argument(
        "--out",
        metavar="DIR",
        help="output folder, for the images with their points and keypoints.json in COCO's format",
    )
    return it.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the points of each picture, write the files, and report on stderr what is wrong with pictures left out."""
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say
    from pellucid.cli.pictures import pictures
    from pellucid.errors import PellucidError
    from pellucid.tasks.keypoints import KeypointFinder, check_outputs, write_keypoints, write_overlay
    from pellucid.tasks.keypoints.written import coco
    from pellucid.text import note

    finder, out = KeypointFinder(open_model(args.model, args.device)), None if args.out is None else Path(args.out)
    rows: list[dict[str, Any]] = []
    faults: dict[str, str] = {}

    def readable() -> Iterator[tuple["Picture", "Tensor"]]:
        check = partial(check_outputs, out) if out is not None else lambda names, files: None
        for picture in pictures(Path(args.source), finder.mode, check):
            try:
                yield picture, picture.read()
            except PellucidError as error:
                faults[picture.file] = str(error)

    for some in chunks(readable(), BATCH):
        for (picture, image), points in zip(some, finder([image for _, image in some]), strict=True):
            _, height, width = image.shape
            row = {"image": picture.file, "height": height, "width": width, "keypoints": points.tolist()}
            overlay = None if out is None else str(write_overlay(out, picture.name, image, points))
            rows.append(row if overlay is None else {**row, "overlay": overlay})
            if not args.json:
                score = percent(float(points[:, 2].mean()))
                say(f"{overlay or picture.file}: {len(points)} points, mean score {score}")
    found = coco(rows, finder.kind, finder.names)
    file = None if out is None or not rows else write_keypoints(out, found)
    for said in dict.fromkeys(faults.values()):
        note(said)
    if args.json and rows:
        skipped = [{"image": name, "reason": said} for name, said in faults.items()]
        emit({"model": args.model, "names": finder.names, "pictures": rows, "annotations": file, "skipped": skipped})
    elif file is not None:
        say(f"wrote {file}")
    return 2 if faults else 0


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last one shorter."""
    some: list[T] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
