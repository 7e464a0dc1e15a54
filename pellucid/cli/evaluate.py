"""`pellucid evaluate`: how good a model is on held-out images."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("evaluate", "Measure a model on the test images of a data set, by default the one it was trained on.")
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip, or the folder that holds the data sets",
    )
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print accuracy, loss, the number of images, and the accuracy of each class."""
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent
    from pellucid.tasks.classify import evaluate

    found = evaluate(open_model(args.model), args.data)
    if args.json:
        emit({"model": args.model, **found})
        return 0
    print(
        f"accuracy {percent(found['accuracy'])}  loss {found['loss']:.4f}  on {found['n']:,} images of {found['data']}"
    )
    width = max(len(row["class"]) for row in found["classes"])
    for row in found["classes"]:
        print(f"  {row['class']:<{width}}  {percent(row['accuracy']):>8}  of {row['n']:,}")
    return 0
