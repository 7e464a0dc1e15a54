"""`pellucid keypoints`: find the key-points of an object in images, folders, videos and the frames of a camera."""

import argparse
from pathlib import Path
from typing import Any

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import finish, say
from pellucid.command.pictures import add_source, read_batches, until_interrupted
from pellucid.text import percent


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("keypoints", "Find the key-points of the one object that fills each image, such as a face.")
    parser.model_argument()
    add_source(parser).add_argument(
        "--out",
        metavar="DIR",
        help="output folder, for the images with their points drawn and for keypoints.json in COCO's format",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the points of each image, write the files, and report on stderr why images were skipped."""
    from pellucid.report.figures.overlay import keypoint_overlay
    from pellucid.tasks.keypoints.finder import KeypointFinder
    from pellucid.tasks.outputs import Outputs, coco

    finder = KeypointFinder(open_model(args.model, args.device))
    outputs = None if args.out is None else Outputs(Path(args.out), "keypoints")
    rows: list[dict[str, Any]] = []
    faults: dict[str, str] = {}
    with until_interrupted(args):
        for batch in read_batches(args, finder.mode, outputs.check if outputs else None, faults):
            for (picture, image), points in zip(batch, finder([image for _, image in batch]), strict=True):
                _, height, width = image.shape
                row = {"image": picture.file, "height": height, "width": width, "keypoints": points.tolist()}
                rows.append(row)
                if outputs is not None:
                    rgb = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
                    overlay = keypoint_overlay(rgb, points[:, :2])
                    row["overlay"] = str(outputs.write_overlay(picture.name, overlay))
                if not args.json:
                    score = percent(float(points[:, 2].mean()))
                    say(f"{row.get('overlay', picture.file)}: {len(points)} points, mean score {score}")
    found = coco(rows, finder.kind, finder.names)
    file = None if outputs is None or not rows else outputs.write_annotations(found)
    value = {"model": args.model, "names": finder.names, "pictures": rows, "annotations": file}
    return finish(args, value, faults, file)
