"""`pellucid evaluate`: evaluate a model on held-out images."""

import argparse
from typing import TYPE_CHECKING, Any

from pellucid.cli.args import Parser
from pellucid.cli.files import html_place
from pellucid.cli.models import open_model
from pellucid.cli.out import answer, percent, table
from pellucid.errors import PellucidError
from pellucid.text import note, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.model import Model

    Results = tuple[Mapping[str, Any], list[str]]  # JSON values, and lines of text

COLUMNS = ("recall", "precision", "f1")
MAX_FILES = 10  # skipped files that the text output names


def parser() -> Parser:
    """Return the parser of this command."""
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
    parser.add_argument(
        "--crf", action="store_true", help="for segmentation: refine the masks along image edges with a CRF first"
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="for detectors: also write an HTML page with true positives, false positives and missed objects",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print accuracy, macro F1, loss, calibration, the number of images, and a row for each class.

    Other models have other metrics: colorizers and photo generators PSNR and more, beside a baseline; segmentation
    models the IoU; detectors COCO's average precision; key-point models the normalised mean error; generators the
    variety and likelihood of their samples.
    """
    from pellucid.tasks.colorize import is_colorizer
    from pellucid.tasks.detect import is_detector
    from pellucid.tasks.generate import is_generator
    from pellucid.tasks.keypoints import is_keypoint_model
    from pellucid.tasks.photos import is_photo_model
    from pellucid.tasks.segment import is_segmenter

    model = open_model(args.model, args.device)
    if args.html is not None and not is_detector(model):
        raise PellucidError(f"--html is for detectors, and {args.model} is not one; leave it out")
    kinds = (
        (is_colorizer, _colours),
        (is_photo_model, _photos),
        (is_detector, _objects),
        (is_generator, _samples),
        (is_segmenter, _masks),
        (is_keypoint_model, _keypoints),
    )
    evaluated = next((evaluated for is_kind, evaluated in kinds if is_kind(model)), _classes)
    if args.crf and evaluated is not _masks:
        raise PellucidError(f"--crf is for segmentation models, and {args.model} is not one; leave it out")
    found, lines = evaluated(args, model)
    answer(args, {"model": args.model, **found}, *lines)
    return 0


def _classes(args: argparse.Namespace, model: "Model") -> "Results":
    from pellucid.tasks.classify import evaluate

    found = evaluate(model, args.data)
    calibration = "" if found["ece"] is None else f"  calibration error {percent(found['ece'])}"
    lines = [
        f"accuracy {percent(found['accuracy'])}  macro F1 {percent(found['macro_f1'])}  loss {found['loss']:.4f}"
        f"{calibration}  on {found['n']:,} images of {found['data']}"
    ]
    if confidence := found["confidence"]:
        accuracy = "" if confidence["accuracy"] is None else f" with accuracy {percent(confidence['accuracy'])}"
        fitted = " (fitted on these images, so optimistic)" if confidence["fitted_here"] else ""
        lines.append(
            f"answers {percent(confidence['coverage'])} of the images{accuracy}; unsure below a confidence of "
            f"{percent(confidence['threshold'])}{fitted}"
        )
    rows = [
        (row["class"], *("-" if row[name] is None else percent(row[name]) for name in COLUMNS), f"{row['n']:,}")
        for row in found["classes"]
    ]
    lines += table([("class", *COLUMNS, "images"), *rows], right=range(1, 5))
    if skipped := found["skipped"]:
        more = ", ..." if len(skipped) > MAX_FILES else ""
        lines.append(
            f"skipped {plural(len(skipped), 'file')} that cannot be read: {', '.join(skipped[:MAX_FILES])}{more}"
        )
    return found, lines


def _masks(args: argparse.Namespace, model: "Model") -> "Results":
    from pellucid.tasks.segment import evaluate

    found = evaluate(model, args.data, args.crf)
    rows = [(row["class"], "-" if row["iou"] is None else percent(row["iou"])) for row in found["classes"]]
    return found, [
        f"mean IoU {percent(found['miou'])}  pixel accuracy {percent(found['pixel_accuracy'])}  boundary F1 "
        f"{percent(found['boundary_f1'])}  on {found['n']:,} images of {found['data']}",
        *table([("class", "IoU"), *rows], right=(1,)),
    ]


def _keypoints(args: argparse.Namespace, model: "Model") -> "Results":
    from pellucid.tasks.keypoints import evaluate

    found = evaluate(model, args.data)
    low, high = map(percent, found["nme_interval"])
    return found, [
        f"normalised mean error {percent(found['nme'])} (95 % interval {low} to {high}) on {found['n']:,} images of "
        f"{found['data']}"
    ]


def _samples(args: argparse.Namespace, model: "Model") -> "Results":
    from pellucid.tasks.generate import evaluate

    found = evaluate(model, args.data)
    fit, lines = found.parzen, list[str]()
    if variety := found.variety:
        lines = [
            f"{variety.covered} of {len(variety.shares)} classes among the predictions of {found.classifier}, entropy "
            f"{variety.entropy:.3f} nats, inception score by this classifier {variety.score:.2f}, mean confidence "
            f"{percent(variety.confidence)}",
            f"in features of {found.classifier}: Frechet distance {found.frechet:.3f}, kernel distance "
            f"{found.kid:.3g}, {found.n:,} samples",
        ]
    return found.to_json(), [
        *lines,
        f"Parzen log-likelihood {fit.mean:.1f} ± {fit.error:.1f} nats of {fit.points:,} test images, {fit.samples:,} "
        f"windows of bandwidth {fit.bandwidth:g}, chosen on {fit.chosen:,} other images; comparable only with "
        "estimates of the same kind",
        f"distance to the nearest training image: samples {found.nearest:.2f}, test images {found.nearest_test:.2f}, "
        f"in {found.data}",
    ]


def _objects(args: argparse.Namespace, model: "Model") -> "Results":
    from pellucid.tasks.detect import evaluate

    page = html_place(args)
    found = evaluate(model, args.data)
    results = found.results
    if page is not None:
        found.write_page(page, f"Detections of {args.model}")
    parts = [("box " if results.further else "", results.figures, results.intervals)]
    parts += [(f"{kind} ", figures, {}) for kind, figures in results.further.items()]
    lines = []
    for what, figures, intervals in parts:
        ranges = [
            f" ({' to '.join(map(percent, intervals[name]))})" if name in intervals else "" for name in ("ap", "ap50")
        ]
        lines.append(
            f"{what}AP {percent(figures['ap'])}{ranges[0]}  {what}AP50 {percent(figures['ap50'])}{ranges[1]}  on "
            f"{results.n:,} images of {found.data}{f' ({found.part})' if found.part else ''}"
        )
    rows = [(name, f"{count:,}", percent(ap), percent(ap50)) for name, count, ap, ap50 in results.by_class]
    lines += table([("class", "objects", "AP", "AP50"), *rows], right=range(1, 4))
    errors = [(kind, f"{gain.errors:,}", percent(gain.gain)) for kind, gain in results.gains.items()]
    lines += table([("error", "count", "gain in AP50"), *errors], right=(1, 2))
    lines += [] if page is None else [f"wrote {page}"]
    return {**results.to_json(), "data": found.data, "part": found.part}, lines


def _colours(args: argparse.Namespace, model: "Model") -> "Results":
    from pellucid.tasks.colorize import FIGURES, evaluate

    found = evaluate(model, args.data)
    for message in found["skipped"].values():
        note(message)
    return found, [
        f"on {plural(found['n'], 'image')} of {found['data']}; answers and frechet are over "
        f"{found['n_judged']:,} of them",
        *_beside(found, FIGURES, "colours", "grey"),
    ]


def _photos(args: argparse.Namespace, model: "Model") -> "Results":
    from pellucid.tasks.photos import FIGURES, FLAT, evaluate

    found = evaluate(model, args.data)
    return found, [
        f"on {plural(found['n'], 'photo')} of {found['data']}; frechet is over {found['n_tiles']:,} tiles",
        *_beside(found, FIGURES, "photos", FLAT),
    ]


def _beside(found: "Mapping[str, Any]", figures: "Mapping[str, str]", ours: str, baseline: str) -> list[str]:
    """Return the lines of a table that compares the metrics of a model with the metrics of a baseline.

    found: the values, under the names NAME and NAME_BASELINE. figures: the description of each metric NAME. ours: the
    heading of the model's column.
    """
    rows = [
        (name, *("-" if found[key] is None else f"{found[key]:.4g}" for key in (name, f"{name}_{baseline}")), about)
        for name, about in figures.items()
    ]
    return table([("metric", ours, baseline, ""), *rows], right=(1, 2))
