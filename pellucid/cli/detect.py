"""`pellucid detect`: detect objects in images, folders of images, videos and the frames of a camera."""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.args import Parser
from pellucid.cli.models import open_model
from pellucid.cli.out import finish, say
from pellucid.cli.pictures import add_source, read_batches, until_interrupted
from pellucid.settings.checks import check
from pellucid.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.objects import Detections


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "detect", "Detect objects in images of any size: boxes, classes, scores, and masks if the model predicts them."
    )
    parser.model_argument()
    add_source(parser).add_argument(
        "--score",
        metavar="X",
        type=float,
        default=0.5,
        help="minimum score of a detection (default: 0.5); an image has at most 100 detections",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="output folder, for the images with their detections drawn and for detections.json in COCO's format",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the detections of each image, write the files, and report on stderr why images were skipped."""
    from pellucid.tasks.detect.finder import ObjectFinder, overlay
    from pellucid.tasks.outputs import CocoResults, Outputs

    check(0 <= args.score <= 1, "--score", "from 0 to 1", args.score)
    finder = ObjectFinder(open_model(args.model, args.device))
    outputs = None if args.out is None else Outputs(Path(args.out), "detections")
    coco = CocoResults(finder.classes)
    rows: list[dict[str, Any]] = []
    faults: dict[str, str] = {}
    with until_interrupted(args):
        for batch in read_batches(args, finder.mode, outputs.check if outputs else None, faults):
            for (picture, image), found in zip(
                batch, finder.find([image for _, image in batch], args.score), strict=True
            ):
                _, height, width = image.shape
                row = {"image": picture.file, "height": height, "width": width}
                row["detections"] = _listed(found, finder.classes)
                if outputs is not None:
                    row["overlay"] = str(outputs.write_overlay(picture.name, overlay(image, found, finder.classes)))
                    coco.add(picture.file, (height, width), found)
                rows.append(row)
                if not args.json:
                    say(f"{row.get('overlay', picture.file)}: {_counted(found, finder.classes)}")
    file = None if outputs is None or not rows else outputs.write_annotations(coco.to_json())
    about = {"model": args.model, "classes": list(finder.classes), "score": args.score}
    return finish(args, {**about, "pictures": rows, "annotations": file}, faults, file)


def _listed(found: "Detections", classes: "Sequence[str]") -> list[dict[str, Any]]:
    """Return the detections, numbered as in the overlay."""
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    listed = [
        {"number": number, "class": classes[label], "score": score, "box": box}
        for number, (label, score, box) in enumerate(rows, 1)
    ]
    if found.keypoints is not None:
        listed = [{**row, "keypoints": points} for row, points in zip(listed, found.keypoints.tolist(), strict=True)]
    return listed


def _counted(found: "Detections", classes: "Sequence[str]") -> str:
    counts = Counter(classes[label] for label in found.labels.tolist())
    names = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return f"{plural(len(found), 'object')} ({names})" if names else "no objects"
