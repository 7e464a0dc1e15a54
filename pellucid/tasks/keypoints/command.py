"""`pellucid keypoints`: find the key-points of an object in images, folders, videos and the frames of a camera."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.pictures import add_source, print_predictions


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "keypoints",
        "Find the key-points of the object that fills each image, such as a face, or of the objects in boxes.",
    )
    parser.model_argument()
    add_source(parser).add_argument(
        "--out",
        metavar="DIR",
        help="output folder, for the images with their points drawn and for keypoints.json in COCO's format",
    )
    parser.add_argument(
        "--boxes",
        metavar="BOXES",
        help="the boxes of several objects in an image: a detector, or a folder, .zip or COCO file of annotations; "
        "without it, each image is one object",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the key-points of each image, write the files, and report on stderr why images were skipped."""
    from pellucid.tasks.keypoints.boxes import open_boxes
    from pellucid.tasks.keypoints.finder import KeypointFinder
    from pellucid.tasks.keypoints.predictor import KeypointPredictor

    model = open_model(args.model, args.device)
    boxes = open_boxes(args.boxes, KeypointFinder(model).kind, args.device) if args.boxes else None
    return print_predictions(args, lambda out: KeypointPredictor(model, out, boxes))
