"""`pellucid predict`: predict on images with a model of any task."""

import argparse
from pathlib import Path

from pellucid.command.args import Parser
from pellucid.command.files import check_place
from pellucid.command.models import open_model
from pellucid.command.pictures import check_source, predict_pictures
from pellucid.errors import PellucidError


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
        metavar="IMAGE",
        nargs="*",
        help="PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF files, or one folder of images or video",
    )
    parser.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    parser.add_argument(
        "--out",
        metavar="DIR|FILE.csv",
        help="output folder, for tasks that write files; or a CSV file with a row for each picture or object",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the prediction for each image, and report on stderr why images were skipped."""
    from pellucid.task import task_of

    check_source(args)
    table = None
    if args.out is not None and args.out.lower().endswith(".csv"):
        table = check_place(args.out, "--out")
    model = open_model(args.model, args.device)
    out = None if args.out is None or table is not None else Path(args.out)
    predictor = task_of(model).predictor(model, out)
    if predictor.only_files and args.out is None:
        raise PellucidError(predictor.only_files)
    return predict_pictures(args, predictor, table)
