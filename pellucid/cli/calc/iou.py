"""`pellucid calc iou`: IoU and mean IoU, from the areas of predictions, ground truth and their intersection."""

import argparse

from pellucid.cli.args import Parser

NOTE = "mean IoU compares masks; for mean average precision (mAP), which ranks scored detections, use calc map"


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("calc iou", "Intersection over union of each class, from areas in any unit, and the mean IoU.")
    what = "areas of the prediction, the ground truth and their intersection for one class, such as 189,201,185"
    parser.add_argument("areas", nargs="+", metavar="P,T,I", help=what)
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the IoU of each class, and their mean."""
    from pellucid.cli.out import emit, say, say_text
    from pellucid.metrics import iou_of_areas
    from pellucid.text import aligned

    areas = [_areas(text) for text in args.areas]
    found = iou_of_areas(*zip(*areas, strict=True))
    mean = found.mean().item()
    if args.json:
        emit({"iou": found.tolist(), "mean_iou": mean, "note": NOTE})
        return 0
    rows = [
        (text, f"{c:g} / ({p:g} + {t:g} - {c:g})", f"{iou:.4f}")
        for text, (p, t, c), iou in zip(args.areas, areas, found.tolist(), strict=True)
    ]
    say_text(aligned([*rows, ("mean IoU", "", f"{mean:.4f}")], right={2}))
    say(NOTE)
    return 0


def _areas(text: str) -> tuple[float, float, float]:
    """Return the three areas; raises PellucidError for other text, and if the first two are both 0."""
    import math

    from pellucid.errors import PellucidError

    try:
        predicted, true, intersection = map(float, text.split(","))
    except ValueError as error:
        raise PellucidError(
            f"{text!r} is not three areas; write predicted,true,intersection as in 189,201,185"
        ) from error
    if (
        not all(map(math.isfinite, (predicted, true, intersection)))
        or predicted < 0
        or true < 0
        or predicted + true == 0
    ):
        raise PellucidError(f"{text!r}: areas are finite numbers of at least 0, and one of the first two is above 0")
    if not 0 <= intersection <= min(predicted, true):
        raise PellucidError(f"{text!r}: the intersection must be at most the predicted and the true area")
    return predicted, true, intersection
