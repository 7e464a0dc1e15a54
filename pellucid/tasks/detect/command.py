"""`pellucid detect`: detect objects in images, folders of images, videos and the frames of a camera."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.pictures import add_source, print_predictions


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "detect", "Detect objects in images of any size: boxes, classes, scores, and masks if the model predicts them."
    )
    parser.model_argument()
    add_source(parser)
    parser.score_option()
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="output folder, for the images with their detections drawn and for detections.json in COCO's format",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the detections of each image, write the files, and report on stderr why images were skipped."""
    from pellucid.tasks.detect.predictor import DetectionPredictor

    model = open_model(args.model, args.device, args.score)
    return print_predictions(args, lambda out: DetectionPredictor(model, out))
