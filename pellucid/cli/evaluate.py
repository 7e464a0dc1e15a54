"""`pellucid evaluate`: how good a model is on held-out images."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

COLUMNS = ("recall", "precision", "f1")
NAMED = 10  # files, for people


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
    """Print accuracy, macro F1, loss, calibration, the number of images, and a row of figures for each class."""
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say, say_text
    from pellucid.tasks.classify import evaluate
    from pellucid.text import aligned, plural

    found = evaluate(open_model(args.model), args.data)
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
