"""`pellucid calc map`: mean average precision of scored detections."""

import argparse
import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.args import Parser
from pellucid.errors import PellucidError
from pellucid.text import shown

if TYPE_CHECKING:
    from pellucid.metrics import Box

CORNERS = ("x0", "y0", "x1", "y1")
COLUMNS = ("image", "class", *CORNERS)


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "calc map", "Compute the average precision of each class, and its mean (mAP), from scored boxes and true boxes."
    )
    what = ", a .csv file with a header row or a .json list of objects: image, class, x0, y0, x1, y1"
    parser.add_argument("predicted", metavar="PREDICTED", help=f"detections{what}, score")
    parser.add_argument("true", metavar="TRUE", help="true boxes, in the same format without score")
    parser.add_argument(
        "--iou", type=float, default=0.5, metavar="T", help="minimum IoU of a true positive (default: 0.5)"
    )
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the scores of each class, and their means."""
    from pellucid.cli.out import emit, say_text
    from pellucid.metrics import mean_average_precision
    from pellucid.text import aligned

    found = mean_average_precision(read_boxes(args.predicted, scored=True), read_boxes(args.true), args.iou)
    if args.json:
        classes = {name: scores._asdict() for name, scores in found.classes.items()}
        emit({"iou": args.iou, "map": {"area": found.area, "eleven": found.eleven}, "classes": classes})
        return 0
    head = ("class", "true boxes", "detections", "true positives", "AP (area)", "AP (11 recalls)")
    rows = [
        (name, str(one.truths), str(one.detections), str(one.hits), _text(one.area), _text(one.eleven))
        for name, one in found.classes.items()
    ]
    last = ("mAP", "", "", "", _text(found.area), _text(found.eleven))
    say_text(aligned([head, *rows, last], right={1, 2, 3, 4, 5}))
    return 0


def read_boxes(path: str, scored: bool = False) -> "list[Box]":
    """Return the boxes of a .csv or .json file; raises PellucidError, with the row, for an invalid box."""
    from pellucid.files import read_regular

    kind = Path(path).suffix
    if kind not in (".csv", ".json"):
        raise PellucidError(f"{path!r} does not end in .csv or .json; give boxes in one of these formats")
    data = read_regular(Path(path))
    try:
        text = data.decode("utf-8-sig")
        rows: Any = json.loads(text) if kind == ".json" else list(csv.DictReader(io.StringIO(text), strict=True))
    except (ValueError, csv.Error, RecursionError) as error:
        raise PellucidError(f"{path!r} is not a {kind[1:].upper()} file in UTF-8: {error}") from error
    if not isinstance(rows, list):
        raise PellucidError(f"{path!r} is not a list of boxes; write [{{...}}, ...] with {', '.join(COLUMNS)} in each")
    columns = (*COLUMNS, "score") if scored else COLUMNS
    return [_box(row, columns, f"{path}: box {number}") for number, row in enumerate(rows, 1)]


def _box(row: Any, columns: tuple[str, ...], where: str) -> "Box":
    from pellucid.metrics import Box

    if not isinstance(row, dict) or any(row.get(name) in (None, "") for name in columns):
        missing = [name for name in columns if not isinstance(row, dict) or row.get(name) in (None, "")]
        raise PellucidError(f"{where} has no {missing[0]}; give {', '.join(columns)}")
    numbers = {name: _number(row[name], f"{where}: {name}") for name in columns if name not in ("image", "class")}
    x0, y0, x1, y1 = (numbers[name] for name in CORNERS)
    if x1 < x0 or y1 < y0:
        raise PellucidError(f"{where} is ({x0:g}, {y0:g}, {x1:g}, {y1:g}); give x0 <= x1 and y0 <= y1")
    return Box(str(row["image"]), str(row["class"]), (x0, y0, x1, y1), numbers.get("score"))


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PellucidError(f"{where} is {shown(value)}; give a finite number")
    return number


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
