"""`pellucid evaluate`: how good a model is on held-out images."""

import argparse
from typing import TYPE_CHECKING

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

if TYPE_CHECKING:
    from pellucid.model import Model

COLUMNS = ("recall", "precision", "f1")
NAMED = 10  # files in text output


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("evaluate", "Measure a model on the test images of a data set, by default the one it was trained on.")
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip (for masks: of NAME/ and NAMEannot/; for key-points: of images "
        "and COCO's annotations), or the folder that holds the data sets",
    )
    it.add_argument("--crf", action="store_true", help="of masks: let them follow the edges in the picture first")
    return it.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print accuracy, macro F1, loss, calibration, the number of images, and a row for each class.

    Of masks the IoU, of key-points the normalised mean error.
    """
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say, say_text
    from pellucid.errors import PellucidError
    from pellucid.tasks.classify import evaluate
    from pellucid.tasks.keypoints import is_keypoint_model
    from pellucid.tasks.segment import is_segmenter
    from pellucid.text import aligned, plural

    model = open_model(args.model, args.device)
    if is_segmenter(model):
        return _masks(args, model)
    if args.crf:
        raise PellucidError(f"--crf is for masks, and {args.model} has none; leave it out")
    if is_keypoint_model(model):
        return _keypoints(args, model)
    found = evaluate(model, args.data)
    if args.json:
        emit({"model": args.model, **found})
        return 0
    calibration = "" if found["ece"] is None else f"  calibration error {percent(found['ece'])}"
    say(
        f"accuracy {percent(found['accuracy'])}  macro F1 {percent(found['macro_f1'])}  loss {found['loss']:.4f}"
        f"{calibration}  on {found['n']:,} images of {found['data']}"
    )
    if kept := found["confidence"]:
        right = "" if kept["accuracy"] is None else f", {percent(kept['accuracy'])} of them right"
        here = " (fitted on these very images, which flatters)" if kept["fitted_here"] else ""
        say(f"answered {percent(kept['coverage'])}{right}; unsure below {percent(kept['threshold'])}{here}")
    rows = [
        (one["class"], *("-" if one[name] is None else percent(one[name]) for name in COLUMNS), f"{one['n']:,}")
        for one in found["classes"]
    ]
    say_text(aligned([("class", *COLUMNS, "images"), *rows], right=range(1, 5)))
    if skipped := found["skipped"]:
        more = ", ..." if len(skipped) > NAMED else ""
        say(f"left out {plural(len(skipped), 'file')} that cannot be read: {', '.join(skipped[:NAMED])}{more}")
    return 0


def _masks(args: argparse.Namespace, model: "Model") -> int:
    from pellucid.cli.out import emit, percent, say, say_text
    from pellucid.tasks.segment import evaluate
    from pellucid.text import aligned

    found = evaluate(model, args.data, args.crf)
    if args.json:
        emit({"model": args.model, **found})
        return 0
    say(
        f"mean IoU {percent(found['miou'])}  pixel accuracy {percent(found['pixel_accuracy'])}  boundary F1 "
        f"{percent(found['boundary_f1'])}  on {found['n']:,} images of {found['data']}"
    )
    rows = [(one["class"], "-" if one["iou"] is None else percent(one["iou"])) for one in found["classes"]]
    say_text(aligned([("class", "IoU"), *rows], right=(1,)))
    return 0


def _keypoints(args: argparse.Namespace, model: "Model") -> int:
    from pellucid.cli.out import emit, percent, say
    from pellucid.tasks.keypoints import evaluate

    found = evaluate(model, args.data)
    if args.json:
        emit({"model": args.model, **found})
        return 0
    low, high = map(percent, found["nme_interval"])
    say(
        f"normalised mean error {percent(found['nme'])} (95 % interval {low} to {high}) on {found['n']:,} images of "
        f"{found['data']}"
    )
    return 0
