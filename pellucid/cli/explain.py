"""`pellucid explain`: show which parts of an image a prediction, or a unit inside the network, depends on."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.classes import class_number, known_classes, pixels_named
from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import again, answer, answer_files
from pellucid.errors import PellucidError
from pellucid.files import make_folder
from pellucid.text import percent, table

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data import Dataset
    from pellucid.explain.examine import Examination
    from pellucid.explain.retrained import Retraining
    from pellucid.explain.target import Region
    from pellucid.model import Model

ALL = "all"
FOLDER = "explanations"
MAX_IMAGES = 10_000  # training images for --retrain


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "explain",
        "Show which parts of an image determine a prediction: for each method, its map, measures and verdicts.",
    )
    parser.model_argument()
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="a PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF file")
    parser.add_argument(
        "--method",
        metavar="NAME",
        default=ALL,
        help="saliency, input_x_gradient, smoothgrad, integrated_gradients, guided_backprop, deconvnet, gradcam, "
        "gradcam_plus_plus, guided_gradcam, lrp, occlusion, or all of them (the default)",
    )
    parser.add_argument(
        "--target",
        metavar="CLASS|PATH",
        help="the class to explain (default: the predicted class), or a unit: 'features.conv2[3]' is channel 3 at its "
        "largest activation, 'features.conv2[3, :, :]' the whole channel. For segmentation: a class where it is "
        "predicted (default: the class with the most pixels), at one pixel, 'CLASS[ROW, COLUMN]', or over a region, "
        "'CLASS[90:100, 120:200]'",
    )
    parser.add_argument(
        "--box",
        metavar="N",
        type=int,
        help="for a detector: explain the box with this number in the output of `pellucid detect`. Writes a page with "
        "the steps that lead to it, and maps (saliency, gradcam and lrp, or --method) of the score of its class, of "
        "another class (--target CLASS), or of a coordinate (--target x0, y0, x1 or y1)",
    )
    parser.add_argument(
        "--pixel",
        metavar="ROW,COLUMN",
        help="for a colorizer: explain the colour of this pixel, counted from 0. Writes maps (lrp, saliency, or "
        "--method) of what its channels a and b depend on, and for pix2pix the patch with the discriminator's lowest "
        "score",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help=f"output folder, created if missing (default: {FOLDER}/MODEL-PARENT-IMAGE, where PARENT is the image's "
        "folder; with a number if that folder holds the results of another image)",
    )
    parser.add_argument(
        "--page",
        metavar="DIR",
        help="instead of one IMAGE, analyse the whole network: write a page with the patches that activate its "
        "channels most, deconvolutions, filters, occlusion, ablation, and the channels by epoch, for a run that saved "
        "its weights at several epochs (train.keep)",
    )
    parser.add_argument(
        "--retrain",
        metavar="EPOCHS",
        type=int,
        help="with --page, also train the network, and variants of it with layers removed or resized, from scratch for "
        f"EPOCHS epochs on at most {MAX_IMAGES:,} images",
    )
    parser.data_option("with --page, a data set, an image folder, or the folder that contains the data sets")
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the maps, and print the measures, the verdicts and the files."""
    from pellucid.explain.examine import examine, folder_for, title, write_examination
    from pellucid.explain.methods import METHODS
    from pellucid.tasks.colorize.colorizer import is_colorizer
    from pellucid.tasks.detect.finder import is_detector
    from pellucid.tasks.pictures import read_picture

    if args.page is not None:
        return _page(args)
    if args.image is None or args.data is not None or args.retrain is not None:
        raise PellucidError(
            "give an IMAGE to explain, without --data and --retrain, or --page DIR for the whole network"
        )
    model = open_model(args.model, args.device)
    if is_detector(model) != (args.box is not None):
        raise PellucidError(
            f"{args.model} is not a detector; leave --box out"
            if args.box is not None
            else "the model is a detector; give the number of a box in the output of `pellucid detect` with --box N"
        )
    if args.box is not None:
        if args.pixel is not None:
            raise PellucidError("--pixel does not apply to --box; leave it out")
        return _box(args, model)
    if is_colorizer(model) != (args.pixel is not None):
        raise PellucidError(
            f"{args.model} is not a colorizer; leave --pixel out"
            if args.pixel is not None
            else "the model is a colorizer; give a pixel with --pixel ROW,COLUMN"
        )
    if args.pixel is not None:
        from pellucid.cli.explain_pixel import METHODS as PIXEL_METHODS
        from pellucid.cli.explain_pixel import explain_pixel

        if args.target is not None:
            raise PellucidError("--target does not apply to --pixel; leave it out")
        out = _place(args, f"pixel{args.pixel.replace(',', '-')}") if args.out is None else Path(args.out)
        return explain_pixel(args, model, out, list(PIXEL_METHODS) if args.method == ALL else [args.method])
    classes = known_classes(model)
    x = read_picture(model, args.image)
    methods = list(METHODS) if args.method == ALL else [args.method]
    found = examine(model, x, methods, _target(model, x, args.target))
    folder = folder_for(_place(args), x, found) if args.out is None else Path(args.out)
    written = write_examination(folder, model, x, found, classes)
    label = title(found.target, classes)
    predicted = " (predicted)" if isinstance(found.target, int) else " (the class with the most pixels)"
    suffix = "" if args.target else predicted
    lines = [f"{args.model} on {args.image}: {label}{suffix}, score {found.score:.4g}", "", *_lines(found)]
    lines += [f"skipped {method}: {reason}" for method, reason in found.skipped.items()]
    answer_files(args, _json(label, found), lines, folder, written)
    return 0


def _place(args: argparse.Namespace, *more: str) -> Path:
    """Return the default output folder, named after the model, the image's folder (often its class) and the image."""
    image = Path(args.image)
    parent = image.parent.name and image.parent.resolve().name  # the resolved name for "../0.png"; empty for "0.png"
    return Path(FOLDER, "-".join(filter(None, (Path(args.model).stem, parent, image.stem, *more))))


def _box(args: argparse.Namespace, model: "Model") -> int:
    """Write the page and the maps of one box of a detector into a folder, and print the sentences of the page."""
    from pellucid.data import load_image
    from pellucid.data.images import full_size
    from pellucid.report.write import write_page, write_picture
    from pellucid.tasks.detect.finder import ObjectFinder
    from pellucid.tasks.detect.pipeline import METHODS, pipeline
    from pellucid.tasks.detect.pipeline_page import BoxPage

    out = _place(args, f"box{args.box}") if args.out is None else Path(args.out)
    methods = list(METHODS) if args.method == ALL else [args.method]
    page = BoxPage(
        pipeline(model, load_image(full_size(args.image), args.image, mode=ObjectFinder(model).mode)),
        args.box,
        args.target,
        methods,
    )
    method = None if args.method == ALL else args.method
    options = {"--box": args.box, "--target": args.target, "--method": method, "--out": args.out}
    command = again(["explain", args.model, args.image], options, ())
    index = write_page(out / "page.html", page.html(f"{page.title} of {Path(args.image).name}", command), page.figures)
    written = [index]
    for method, map_ in page.maps.items():
        figure = page.figures[method]
        assert figure is not None
        written += write_picture(
            out, method, figure, {"map": map_, "image": page.pipeline.image, "box": page.boxes[page.detection_index]}
        )
    lines = [line for step in page.steps for line in (f"{step.heading}:", *(f"  {text}" for text in step.sentences))]
    answer_files(args, page.to_json(), lines, out, written)
    return 0


def _page(args: argparse.Namespace) -> int:
    """Write the page of the whole network."""
    from pellucid.explain.look import look
    from pellucid.explain.look_page import write_page
    from pellucid.explain.top_patches import epoch_weights
    from pellucid.tasks.pictures import held_out

    excluded = (args.image, args.target, args.out, args.box, args.pixel)
    if any(value is not None for value in excluded) or args.method != ALL:
        raise PellucidError(
            "--page is for the whole network; give it without IMAGE, --box, --pixel, --method, --target and --out"
        )
    if args.retrain is not None and args.retrain < 1:
        raise PellucidError(f"--retrain: train for at least one epoch, not {args.retrain}")
    make_folder(Path(args.page))
    model = open_model(args.model, args.device)
    data = held_out(model, args.data)
    retraining = _retrained(model, data, args) if args.retrain is not None else None
    found = look(
        model, data, Path(args.model).stem, epochs=epoch_weights(model, Path(args.model)), retraining=retraining
    )
    index = write_page(Path(args.page), found)
    rows = [{"removed": row.name, "parameters": row.parameters, "accuracy": row.accuracy} for row in found.ablations]
    layers = [
        {"path": layer.path, "maps": layer.maps, "silent": layer.silent, "field": list(layer.field)}
        for layer in found.layers
    ]
    about = {"model": args.model, "page": str(index), "data": found.data, "n": len(found.images)}
    answer(
        args,
        {**about, "accuracy": found.accuracy, "layers": layers, "ablations": rows},
        *(f"without {row['removed']}: {percent(row['accuracy'])}" for row in rows),
        f"wrote {index}",
    )
    return 0


def _retrained(model: "Model", test: "Dataset", args: argparse.Namespace) -> "Retraining":
    """Train variants of the model's network on an evenly chosen subset of its own training images."""
    from pellucid.explain.retrained import retrained
    from pellucid.recipe.material import (
        check_data_in_run_folder,
        data_for_model,
        data_name,
        is_root,
        load_splits,
        table_for,
    )

    name, root = data_name(model), args.data
    if not name or (root is not None and not is_root(name, root)):
        raise PellucidError(
            "--retrain uses the data set that the model was trained on; leave --data out, or give the folder "
            "that contains the data sets"
        )
    check_data_in_run_folder(name, model.source)
    train = data_for_model(
        model.nominal_shape, model.classes, load_splits(table_for(model.nominal_shape, name), root).train
    )
    return retrained(model, train.evenly(MAX_IMAGES), test, args.retrain, verbose=not args.json)


def _target(model: "Model", x: "Tensor", target: str | None) -> "int | str | Region | None":
    """Return the class, the region or the path of the unit to explain; None for the predicted class."""
    from pellucid.tasks.segment.segmenter import is_segmenter

    if is_segmenter(model):
        return pixels_named(model, x, target) or target
    if target is None or "[" in target:
        return target
    return class_number(target, known_classes(model), ", and a unit is written 'layer[3]'")


def _lines(found: "Examination") -> list[str]:
    from pellucid.explain.verdicts import RULES

    head = ("method", "adds up to", "should be", "deletion", "insertion", "likeness")
    rows = [
        (
            result.method,
            f"{result.sum:.4g}" if result.expected_sum is not None else "",
            f"{result.expected_sum:.4g}" if result.expected_sum is not None else "",
            f"{result.deletion:.3f}",
            f"{result.insertion:.3f}",
            ", ".join("-" if value is None else f"{value:.2f}" for value in result.likeness.values()),
        )
        for result in found.found
    ]
    last = ("random order", "", "", f"{found.random[0]:.3f}", f"{found.random[1]:.3f}", "")
    paths = ", ".join(found.found[0].likeness) if found.found else ""
    notes = [
        "adds up to, should be: the sum of the map, and the sum that the method guarantees, such as the score (lrp) or "
        "its difference from the score of the baseline (integrated_gradients); empty for methods without a guarantee",
        "deletion, insertion: the mean score while pixels are removed (lower is better) and added (higher is better), "
        "the most important first",
        "likeness: rank correlation with the map of a network whose weights are shuffled "
        f"from the top down to {paths}; near 1 means that the map depends on the image, not on the weights",
        *RULES.split("\n"),
    ]
    tests = [(result.method, test, verdict.text) for result in found.found for test, verdict in result.verdicts.items()]
    measures = table([head, *rows, last], right=range(1, 5))
    return [*measures, *notes, "", *table([("method", "test", "verdict"), *tests])]


def _json(label: str, found: "Examination") -> dict[str, Any]:
    methods = {
        result.method: {
            "sum": result.sum,
            "wanted": result.expected_sum,
            "gap": result.gap,
            "likeness": result.likeness,
            "deletion": result.deletion,
            "insertion": result.insertion,
            "verdicts": {test: verdict.to_json() for test, verdict in result.verdicts.items()},
        }
        for result in found.found
    }
    return {
        "target": label,
        "score": found.score,
        "methods": methods,
        "random": {"deletion": found.random[0], "insertion": found.random[1]},
        "distances": {
            result.method: dict(zip(methods, row, strict=True))
            for result, row in zip(found.found, found.distances, strict=True)
        },
        "skipped": found.skipped,
    }
