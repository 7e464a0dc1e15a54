"""`pellucid calc`: calculate output sizes, counts, receptive fields, IoU and average precision."""

import argparse
import csv
import io
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import shown, table
from pellucid.command.args import Action, Actions, Parser
from pellucid.command.out import print_result

if TYPE_CHECKING:
    from pellucid.metrics import Box

LAYERS_HELP = "as in Python: 'Conv2d(20, 5, padding=2), ReLU, MaxPool2d(2), Flatten, Dense(10)'"
IOU_NOTE = "mean IoU compares masks; for mean average precision (mAP), which ranks scored detections, use calc map"
CORNERS = ("x0", "y0", "x1", "y1")
BOX_COLUMNS = ("image", "class", *CORNERS)


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions("calc", "Calculate output sizes, counts, receptive fields, IoU and average precision.", ACTIONS)


def conv_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser("calc conv", "The output size of a convolution over square images, its weights and multiply-adds.")
    parser.add_argument("size", type=int, metavar="W", help="height and width of the input")
    parser.add_argument("kernel", type=int, metavar="K", help="height and width of the kernel")
    parser.add_argument("--stride", type=int, default=1, metavar="S", help="stride (default: 1)")
    parser.add_argument("--padding", type=int, default=0, metavar="P", help="zeros added at each edge (default: 0)")
    parser.add_argument(
        "--dilation", type=int, default=1, metavar="D", help="spacing of the kernel elements (default: 1)"
    )
    parser.add_argument("--channels", type=int, default=1, metavar="C", help="channels of the input (default: 1)")
    parser.add_argument(
        "--filters", type=int, default=1, metavar="F", help="number of filters, the output channels (default: 1)"
    )
    return parser.json_flag()


def conv(args: argparse.Namespace) -> int:
    """Print the output size of the convolution and its counts, each with its formula."""
    from pellucid.combine import Sequential
    from pellucid.layers import Conv2d
    from pellucid.network.counts import counts

    if min(args.size, args.channels) < 1:
        raise PellucidError("pellucid calc conv: W and --channels must be at least 1")
    w, k, s, p, d, c, f = (
        getattr(args, name) for name in ("size", "kernel", "stride", "padding", "dilation", "channels", "filters")
    )
    (layer_counts,) = counts(Sequential(Conv2d(f, k, stride=s, padding=p, dilation=d)), (c, w, w)).rows
    output_size = layer_counts.shape[1]
    parameters = layer_counts.weights + layer_counts.biases
    numbers = {
        "output_size": output_size,
        "output_shape": layer_counts.shape,
        "weights": layer_counts.weights,
        "biases": layer_counts.biases,
    }
    rows = [
        ("output size", f"floor(({w} - {d} x ({k} - 1) - 1 + 2 x {p}) / {s}) + 1", f"{output_size:,}"),
        ("weights", f"{k} x {k} x {c} x {f}", f"{layer_counts.weights:,}"),
        ("biases", "one for each filter", f"{layer_counts.biases:,}"),
        ("parameters", "weights and biases", f"{parameters:,}"),
        (
            "multiply-adds",
            f"{output_size} x {output_size} x {layer_counts.weights:,}",
            f"{layer_counts.multiply_adds:,}",
        ),
    ]
    values = {**numbers, "parameters": parameters, "multiply_adds": layer_counts.multiply_adds}
    print_result(args, values, *table(rows, right={2}))
    return 0


def params_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "calc params", "Count the weights, biases and multiply-adds of layers in sequence, for one example."
    )
    parser.add_argument(
        "input", metavar="INPUT", help="shape of an example: CxHxW, such as 3x227x227, or a length: 784"
    )
    parser.add_argument("layers", nargs="+", metavar="LAYERS", help=LAYERS_HELP)
    return parser.json_flag()


def params(args: argparse.Namespace) -> int:
    """Print the counts as a table."""
    from pellucid.network.counts import counts, read_layers

    shape = _parse_shape(args.input)
    network_counts = counts(read_layers(", ".join(args.layers)), shape)
    print_result(
        args,
        {"input_shape": shape, **network_counts.to_json()},
        *str(network_counts).split("\n"),
        f"parameters: {network_counts.parameters:,}",
        f"distinct entries of the Hessian of the loss, W (W + 1) / 2: {network_counts.hessian_entries:,}",
        "parameters of a local quadratic approximation of the loss, W (W + 3) / 2: "
        f"{network_counts.quadratic_parameters:,}",
    )
    return 0


def _parse_shape(text: str) -> tuple[int, ...]:
    """Return (channels, height, width) of "3x227x227", or (length,) of "784"; raise PellucidError for other text."""
    if not re.fullmatch(r"[1-9][0-9]{0,6}(x[1-9][0-9]{0,6}x[1-9][0-9]{0,6})?", text):
        raise PellucidError(
            f"INPUT {text!r} is not a shape; write channels, height and width as in 3x227x227, or a length as in 784"
        )
    return tuple(map(int, text.split("x")))


def receptive_field_parser() -> Parser:
    """Return the parser of this action."""
    about = "Compute the receptive field of one unit of each layer, and the step in pixels between neighbouring units."
    parser = Parser("calc receptive-field", about)
    parser.add_argument("layers", nargs="+", metavar="LAYERS", help=LAYERS_HELP)
    return parser.json_flag()


def receptive_fields(args: argparse.Namespace) -> int:
    """Print the receptive fields as a table."""
    from pellucid.layers.base import describe
    from pellucid.network.counts import read_layers, receptive_field
    from pellucid.network.summary import shape_text

    net = read_layers(", ".join(args.layers))
    reaches = receptive_field(net)
    layer_texts = [describe(layer) for layer in net.children.values()]
    rows = list(zip(layer_texts, reaches, strict=True))
    layer_values = [{"layer": layer, **reach._asdict()} for layer, reach in rows]
    cells = [(layer, shape_text(reach.field), shape_text(reach.step)) for layer, reach in rows]
    print_result(
        args,
        {"receptive_field": reaches[-1].field, "step": reaches[-1].step, "layers": layer_values},
        *table([("layer", "receptive field", "step"), *cells], right={1, 2}),
    )
    return 0


def iou_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser("calc iou", "Intersection over union of each class, from areas in any unit, and the mean IoU.")
    areas_help = "areas of the prediction, the ground truth and their intersection for one class, such as 189,201,185"
    parser.add_argument("areas", nargs="+", metavar="P,T,I", help=areas_help)
    return parser.json_flag()


def iou(args: argparse.Namespace) -> int:
    """Print the IoU of each class, and their mean."""
    from pellucid.metrics import iou_of_areas

    areas = [_parse_areas(text) for text in args.areas]
    ious = iou_of_areas(*zip(*areas, strict=True))
    mean = ious.mean().item()
    rows = [
        (text, f"{intersection:g} / ({predicted:g} + {true:g} - {intersection:g})", f"{iou:.4f}")
        for text, (predicted, true, intersection), iou in zip(args.areas, areas, ious.tolist(), strict=True)
    ]
    lines = table([*rows, ("mean IoU", "", f"{mean:.4f}")], right={2})
    print_result(args, {"iou": ious.tolist(), "mean_iou": mean, "note": IOU_NOTE}, *lines, IOU_NOTE)
    return 0


def _parse_areas(text: str) -> tuple[float, float, float]:
    """Return the areas of "predicted,true,intersection"; raise PellucidError for other text and impossible areas."""
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


def map_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "calc map", "Compute the average precision of each class, and its mean (mAP), from scored boxes and true boxes."
    )
    columns_help = ", a .csv file with a header row or a .json list of objects: image, class, x0, y0, x1, y1"
    parser.add_argument("predicted", metavar="PREDICTED", help=f"detections{columns_help}, score")
    parser.add_argument("true", metavar="TRUE", help="true boxes, in the same format without score")
    parser.add_argument(
        "--iou", type=float, default=0.5, metavar="T", help="minimum IoU of a true positive (default: 0.5)"
    )
    return parser.json_flag()


def mean_ap(args: argparse.Namespace) -> int:
    """Print the average precision of each class, and its mean over the classes."""
    from pellucid.metrics import mean_average_precision

    mean_precision = mean_average_precision(
        read_boxes(args.predicted, has_scores=True), read_boxes(args.true), args.iou
    )
    classes = {name: scores._asdict() for name, scores in mean_precision.classes.items()}
    header = ("class", "true boxes", "detections", "true positives", "AP (area)", "AP (11 recalls)")
    rows = [
        (
            name,
            str(scores.truths),
            str(scores.detections),
            str(scores.hits),
            _ap_text(scores.area),
            _ap_text(scores.eleven),
        )
        for name, scores in mean_precision.classes.items()
    ]
    mean_row = ("mAP", "", "", "", _ap_text(mean_precision.area), _ap_text(mean_precision.eleven))
    print_result(
        args,
        {"iou": args.iou, "map": {"area": mean_precision.area, "eleven": mean_precision.eleven}, "classes": classes},
        *table([header, *rows, mean_row], right=range(1, 6)),
    )
    return 0


def read_boxes(path: str, has_scores: bool = False) -> "list[Box]":
    """Return the boxes of a .csv or .json file; raise PellucidError, which names the box, for an invalid one.

    has_scores: whether the boxes have scores.
    """
    from pellucid.base.files import decode_text, read_regular

    suffix = Path(path).suffix
    if suffix not in (".csv", ".json"):
        raise PellucidError(f"{path!r} does not end in .csv or .json; give boxes in one of these formats")
    text = decode_text(read_regular(Path(path)), path)
    try:
        rows: Any = json.loads(text) if suffix == ".json" else list(csv.DictReader(io.StringIO(text), strict=True))
    except (ValueError, csv.Error, RecursionError) as error:
        raise PellucidError(f"{path!r} is not a {suffix[1:].upper()} file: {error}") from error
    if not isinstance(rows, list):
        raise PellucidError(
            f"{path!r} is not a list of boxes; write [{{...}}, ...] with {', '.join(BOX_COLUMNS)} in each"
        )
    columns = (*BOX_COLUMNS, "score") if has_scores else BOX_COLUMNS
    return [_read_box(row, columns, f"{path}: box {number}") for number, row in enumerate(rows, 1)]


def _read_box(row: Any, columns: tuple[str, ...], where: str) -> "Box":
    from pellucid.metrics import Box

    if not isinstance(row, dict) or any(row.get(name) in (None, "") for name in columns):
        missing = [name for name in columns if not isinstance(row, dict) or row.get(name) in (None, "")]
        raise PellucidError(f"{where} has no {missing[0]}; give {', '.join(columns)}")
    numbers = {name: _read_number(row[name], f"{where}: {name}") for name in columns if name not in ("image", "class")}
    x0, y0, x1, y1 = (numbers[name] for name in CORNERS)
    if x1 < x0 or y1 < y0:
        raise PellucidError(f"{where} is ({x0:g}, {y0:g}, {x1:g}, {y1:g}); give x0 <= x1 and y0 <= y1")
    return Box(str(row["image"]), str(row["class"]), (x0, y0, x1, y1), numbers.get("score"))


def _read_number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PellucidError(f"{where} is {shown(value)}; give a finite number")
    return number


def _ap_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


ACTIONS = {
    "conv": Action("the output size of a convolution, its weights and multiply-adds", conv_parser, conv),
    "params": Action("the weights, biases and multiply-adds of layers in sequence", params_parser, params),
    "receptive-field": Action(
        "the receptive field after each of several layers", receptive_field_parser, receptive_fields
    ),
    "iou": Action(
        "IoU and mean IoU, from the areas of predictions, ground truth and their intersection", iou_parser, iou
    ),
    "map": Action("mean average precision (mAP) of scored detections", map_parser, mean_ap),
}
