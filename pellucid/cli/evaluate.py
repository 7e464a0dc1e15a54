"""`pellucid evaluate`: evaluate a model on held-out images."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.options import add_options, given_options
from pellucid.command.out import OWN_ENGINE, print_result
from pellucid.data.format_names import ANNOTATION_FORMATS


def parser() -> Parser:
    """Return the parser of this command, with the options of all tasks."""
    parser = Parser(
        "evaluate", "Evaluate a model on the test images of a data set (default: the data set that it was trained on)."
    )
    parser.model_argument()
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip file, or the folder that contains the data sets. A folder for "
        "segmentation has images in NAME/ and masks in NAMEannot/; a folder for detection or key-points has "
        f"annotations in the format of {ANNOTATION_FORMATS}",
    )
    add_options(parser, "evaluate")
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the metrics of the model's task, such as accuracy for classifiers and average precision for detectors.

    Under torchrun, the processes share the images if the task supports it, and the first process prints.
    """
    from pellucid.recipe.model_data import reading_as_in_training
    from pellucid.task import task_of
    from pellucid.training.distributed import processes

    model = open_model(args.model, args.device)
    task = task_of(model)
    with reading_as_in_training(model, args.data):
        evaluation = task.evaluate(model, args.model, args.data, **given_options(args, "evaluate", task))
    if processes().is_first:
        print_result(args, {"model": args.model, "engine": OWN_ENGINE, **evaluation.values}, *evaluation.lines)
    return 0
