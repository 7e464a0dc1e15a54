"""`pellucid evaluate`: evaluate a model on held-out images."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.files import check_place
from pellucid.command.models import open_model
from pellucid.command.out import answer
from pellucid.errors import PellucidError


def parser() -> Parser:
    """Return the parser of this command, with the options of all tasks."""
    from pellucid.task import tasks

    parser = Parser(
        "evaluate", "Evaluate a model on the test images of a data set (default: the data set that it was trained on)."
    )
    parser.model_argument()
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip file, or the folder that contains the data sets. A folder for "
        "segmentation has images in NAME/ and masks in NAMEannot/; a folder for detection or key-points has "
        "annotations in the format of Pascal VOC, COCO, YOLO or labelme",
    )
    for task in tasks():
        for option in task.options:
            about = f"for {task.models}: {option.help}"
            if option.is_file:
                parser.add_argument(f"--{option.name}", metavar="FILE", help=about)
            else:
                parser.add_argument(f"--{option.name}", action="store_true", default=None, help=about)
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the results of the model's task: accuracy for classifiers, average precision for detectors, and others."""
    from pellucid.task import task_of, tasks

    model = open_model(args.model, args.device)
    task = task_of(model)
    options = {}
    for other in tasks():
        for option in other.options:
            value = getattr(args, option.name)
            if value is None:
                continue
            if other is not task:
                raise PellucidError(f"--{option.name} is for {other.models}, and {args.model} is not one; leave it out")
            options[option.name] = check_place(value, f"--{option.name}") if option.is_file else value
    found = task.evaluate(model, args.model, args.data, **options)
    answer(args, {"model": args.model, **found.values}, *found.lines)
    return 0
