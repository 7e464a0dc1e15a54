"""`pellucid evaluate`: evaluate a model on held-out images."""

import argparse
from typing import TYPE_CHECKING, Any

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.model import Model

COLUMNS = ("recall", "precision", "f1")
MAX_FILES = 10  # skipped files that the text output names


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "evaluate", "Evaluate a model on the test images of a data set (default: the data set that it was trained on)."
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip file, or the folder that contains the data sets. A folder for "
        "segmentation has images in NAME/ and masks in NAMEannot/; a folder for detection or key-points has "
        "annotations in the format of Pascal VOC or COCO",
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
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say, say_text
    from pellucid.errors import PellucidError
    from pellucid.tasks.classify import evaluate
    from pellucid.tasks.colorize import is_colorizer
    from pellucid.tasks.detect import is_detector
    from pellucid.tasks.generate import is_generator
    from pellucid.tasks.keypoints import is_keypoint_model
    from pellucid.tasks.photos import is_photo_model
    from pellucid.tasks.segment import is_segmenter
    from pellucid.text import aligned, plural

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
    show = next((show for is_kind, show in kinds if is_kind(model)), None)
    if args.crf and show is not _masks:
        raise PellucidError(f"--crf is for segmentation models, and {args.model} is not one; leave it out")
    if show is not None:
        return show(args, model)
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
        accuracy = "" if kept["accuracy"] is None else f" with accuracy {percent(kept['accuracy'])}"
        fitted = " (fitted on these images, so optimistic)" if kept["fitted_here"] else ""
        say(
            f"answers {percent(kept['coverage'])} of the images{accuracy}; unsure below a confidence of "
            f"{percent(kept['threshold'])}{fitted}"
        )
    rows = [
        (one["class"], *("-" if one[name] is None else percent(one[name]) for name in COLUMNS), f"{one['n']:,}")
        for one in found["classes"]
    ]
    say_text(aligned([("class", *COLUMNS, "images"), *rows], right=range(1, 5)))
    if skipped := found["skipped"]:
        more = ", ..." if len(skipped) > MAX_FILES else ""
        say(f"skipped {plural(len(skipped), 'file')} that cannot be read: {', '.join(skipped[:MAX_FILES])}{more}")
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


def _samples(args: argparse.Namespace, model: "Model") -> int:
    from pellucid.cli.out import emit, percent, say
    from pellucid.tasks.generate import evaluate

    found = evaluate(model, args.data)
    if args.json:
        emit({"model": args.model, **found.to_json()})
        return 0
    if variety := found.variety:
        say(
            f"{variety.covered} of {len(variety.shares)} classes among the predictions of {found.classifier}, entropy "
            f"{variety.entropy:.3f} nats, inception score by this classifier {variety.score:.2f}, mean confidence "
            f"{percent(variety.confidence)}"
        )
        say(
            f"in features of {found.classifier}: Frechet distance {found.frechet:.3f}, kernel distance "
            f"{found.kid:.3g}, {found.n:,} samples"
        )
    fit = found.parzen
    say(
        f"Parzen log-likelihood {fit.mean:.1f} ± {fit.error:.1f} nats of {fit.points:,} test images, {fit.samples:,} "
        f"windows of bandwidth {fit.bandwidth:g}, chosen on {fit.chosen:,} other images; comparable only with "
        "estimates of the same kind"
    )
    say(
        f"distance to the nearest training image: samples {found.nearest:.2f}, test images {found.nearest_test:.2f}, "
        f"in {found.data}"
    )
    return 0


def _objects(args: argparse.Namespace, model: "Model") -> int:
    from pellucid.cli.files import html_place
    from pellucid.cli.out import emit, percent, say, say_text
    from pellucid.tasks.detect import evaluate
    from pellucid.text import aligned

    page = html_place(args)
    found = evaluate(model, args.data)
    results = found.results
    if page is not None:
        found.write_page(page, f"Detections of {args.model}")
    if args.json:
        emit({"model": args.model, **results.to_json(), "data": found.data, "part": found.part})
        return 0
    parts = [("box " if results.further else "", results.figures, results.intervals)]
    parts += [(f"{kind} ", figures, {}) for kind, figures in results.further.items()]
    for what, figures, intervals in parts:
        between = [
            f" ({' to '.join(map(percent, intervals[name]))})" if name in intervals else "" for name in ("ap", "ap50")
        ]
        say(
            f"{what}AP {percent(figures['ap'])}{between[0]}  {what}AP50 {percent(figures['ap50'])}{between[1]}  on "
            f"{results.n:,} images of {found.data}{f' ({found.part})' if found.part else ''}"
        )
    rows = [(name, f"{count:,}", percent(ap), percent(ap50)) for name, count, ap, ap50 in results.by_class]
    say_text(aligned([("class", "objects", "AP", "AP50"), *rows], right=range(1, 4)))
    errors = [(kind, f"{gain.errors:,}", percent(gain.gain)) for kind, gain in results.gains.items()]
    say_text(aligned([("error", "count", "gain in AP50"), *errors], right=(1, 2)))
    if page is not None:
        say(f"wrote {page}")
    return 0


def _colours(args: argparse.Namespace, model: "Model") -> int:
    from pellucid.cli.out import emit, say, say_text
    from pellucid.tasks.colorize import FIGURES, evaluate
    from pellucid.text import note, plural

    found = evaluate(model, args.data)
    for message in found["skipped"].values():
        note(message)
    if args.json:
        emit({"model": args.model, **found})
        return 0
    say(
        f"on {plural(found['n'], 'image')} of {found['data']}; answers and frechet are over "
        f"{found['n_judged']:,} of them"
    )
    say_text(_beside(found, FIGURES, "colours", "grey"))
    return 0


def _photos(args: argparse.Namespace, model: "Model") -> int:
    from pellucid.cli.out import emit, say, say_text
    from pellucid.tasks.photos import FIGURES, FLAT, evaluate
    from pellucid.text import plural

    found = evaluate(model, args.data)
    if args.json:
        emit({"model": args.model, **found})
        return 0
    say(f"on {plural(found['n'], 'photo')} of {found['data']}; frechet is over {found['n_tiles']:,} tiles")
    say_text(_beside(found, FIGURES, "photos", FLAT))
    return 0


def _beside(found: "Mapping[str, Any]", figures: "Mapping[str, str]", ours: str, baseline: str) -> str:
    """Return a table of the figures of a model, NAME, beside those of a baseline, NAME_BASELINE."""
    from pellucid.text import aligned

    rows = [
        (name, *("-" if found[key] is None else f"{found[key]:.4g}" for key in (name, f"{name}_{baseline}")), about)
        for name, about in figures.items()
    ]
    return aligned([("figure", ours, baseline, ""), *rows], right=(1, 2))
