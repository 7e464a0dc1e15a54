"""`pellucid predict`: predict on images with a model of any task."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.pictures import MANY_HELP, check_source, print_predictions


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "predict",
        "Classify images of any size; digits may be dark on light or light on dark. Models of other tasks predict what "
        "their own command does with its default options, such as `pellucid detect`.",
    )
    parser.model_argument()
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="*",
        help=f"PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF files, one folder of images or video, or {MANY_HELP}",
    )
    parser.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    parser.add_argument(
        "--out",
        metavar="DIR|FILE.csv",
        help="output folder, for tasks that write files; or a CSV file with a row for each picture or object. For many "
        "pictures a folder with results.jsonl, or FILE.jsonl, FILE.csv or FILE.parquet",
    )
    return parser.score_option().device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the prediction for each image, and report on stderr why images were skipped."""
    from pellucid.task import task_of

    check_source(args)
    model = open_model(args.model, args.device, args.score)
    return print_predictions(args, lambda out: task_of(model).predictor(model, out))
