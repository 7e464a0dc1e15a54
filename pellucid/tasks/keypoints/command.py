"""`pellucid keypoints`: find the key-points of an object in images, folders, videos and the frames of a camera."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.pictures import add_source, predict_pictures


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
    """Print the key-points of each image, write the files, and report on stderr why images were skipped."""
    from pellucid.tasks.keypoints.predictor import KeypointPredictor

    model = open_model(args.model, args.device)
    return predict_pictures(args, lambda out: KeypointPredictor(model, out))
