"""`pellucid segment`: classify each pixel of images, folders of images, videos and the frames of a camera."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.pictures import add_source, print_predictions


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("segment", "Classify each pixel of images of any size.")
    parser.model_argument()
    add_source(parser).add_argument(
        "--crf",
        action="store_true",
        help="refine the masks along image edges with a conditional random field (CRF; slower)",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="output folder")
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the files of each image, print the areas of its classes, and report on stderr why images were skipped."""
    from pellucid.tasks.segment.predictor import SegmentationPredictor

    model = open_model(args.model, args.device)
    return print_predictions(args, lambda out: SegmentationPredictor(model, out, args.crf))
