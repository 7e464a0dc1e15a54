"""`pellucid explain`: show which parts of an image a prediction, or a unit inside the network, depends on."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import percent
from pellucid.command.args import Parser
from pellucid.command.files import check_output_path
from pellucid.command.models import open_model, open_network
from pellucid.command.options import add_options, given_options, options_of
from pellucid.command.out import print_result, print_result_with_files
from pellucid.command.pictures import MANY_HELP

if TYPE_CHECKING:
    from pellucid.data import Dataset
    from pellucid.explain.retrained import Retraining
    from pellucid.model import Model
    from pellucid.predictor import Picture
    from pellucid.task import Explained

ALL_METHODS = "all"
DEFAULT_FOLDER = "explanations"
MAX_IMAGES = 10_000  # training images for --retrain


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "explain",
        "Show which parts of an image determine a prediction: for each method, its map, measures and verdicts.",
    )
    parser.model_argument()
    parser.add_argument(
        "image",
        metavar="IMAGE",
        nargs="?",
        help=f"a PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF file; {MANY_HELP}, or a folder, with --out",
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        default=ALL_METHODS,
        help="saliency, input_x_gradient, smoothgrad, integrated_gradients, deeplift, guided_backprop, deconvnet, "
        "gradcam, gradcam_plus_plus, layercam, scorecam, guided_gradcam, lrp, rollout (of attention), occlusion, or "
        "all that apply (the default)",
    )
    parser.add_argument(
        "--target",
        metavar="CLASS|PATH",
        help="the class to explain (default: the predicted class), the difference of two, 'CLASS - CLASS', or a unit: "
        "'features.conv2[3]' is channel 3 at its largest activation, 'features.conv2[3, :, :]' the whole channel. For "
        "segmentation: a class where it is predicted (default: the class with the most pixels), at one pixel, "
        "'CLASS[ROW, COLUMN]', or over a region, 'CLASS[90:100, 120:200]'. For key-points: the name or the number of "
        "one (default: the first)",
    )
    add_options(parser, "explain")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help=f"output folder, created if missing (default: {DEFAULT_FOLDER}/MODEL-PARENT-IMAGE, where PARENT is the "
        "image's folder; with a number if that folder holds the results of another image). For many pictures, it has "
        "results.jsonl and a folder of maps for each picture",
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
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="instead of a folder of maps, write the studio's view Explain of IMAGE as one interactive page: all "
        "methods for the predicted class, box or colour, or for --target, --box or --pixel",
    )
    parser.data_option("with --page, a data set, an image folder, or the folder that contains the data sets")
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the maps, and print the measures, the verdicts and the files."""
    from pellucid.command.explain_many import ExplanationPredictor
    from pellucid.command.many import are_results_in_parts, predict_in_parts
    from pellucid.task import Request, task_of

    if args.page is not None:
        return _write_network_page(args)
    if args.image is None or args.data is not None or args.retrain is not None:
        raise PellucidError(
            "give an IMAGE to explain, without --data and --retrain, or --page DIR for the whole network"
        )
    model = open_network(args.model, args.device)
    task = task_of(model)
    options = given_options(args, "explain", task)
    if args.html is not None:
        return _write_view(args, model, options)
    method = None if args.method == ALL_METHODS else args.method
    if Path(args.image).is_dir() or are_results_in_parts(args.image, args.out):

        def explain_picture(picture: "Picture", data: bytes, out: Path) -> "Explained":
            request = Request(
                model=args.model,
                image=picture.file,
                target=args.target,
                method=method,
                out=str(out),
                default_folder=out,
                data=data,
            )
            return task.explain(model, request, **options)

        return predict_in_parts(args, args.image, partial(ExplanationPredictor, explain_picture))
    image = Path(args.image)
    # The parent of "../0.png" needs its resolved name; "0.png" has no parent in its name.
    parent = image.parent.name and image.parent.resolve().name
    default_folder = Path(DEFAULT_FOLDER, "-".join(filter(None, (Path(args.model).stem, parent, image.stem))))
    request = Request(
        model=args.model,
        image=args.image,
        target=args.target,
        method=method,
        out=args.out,
        default_folder=default_folder,
    )
    print_result_with_files(args, *task.explain(model, request, **options))
    return 0


def _write_view(args: argparse.Namespace, model: "Model", options: Mapping[str, Any]) -> int:
    """Write the studio's view Explain of the image as one page."""
    from pellucid.studio.explain.file import explained_file

    if args.method != ALL_METHODS or args.out is not None:
        raise PellucidError("--html writes one page with all methods; give it without --method and --out")
    page_path = check_output_path(args.html, "--html")
    page = explained_file(model, args.model, args.image, args.target, options)
    write_atomically(page_path, page.encode())
    print_result(args, {"model": args.model, "image": args.image, "page": str(page_path)}, f"wrote {page_path}")
    return 0


def _write_network_page(args: argparse.Namespace) -> int:
    """Write the page that analyses the whole network, and print its results."""
    from pellucid.explain.page import write_page
    from pellucid.explain.page_contents import page_contents
    from pellucid.explain.top_patches import epoch_weights
    from pellucid.task import task_of

    option_names = [option.name for _, option in options_of("explain")]
    excluded_arguments = ("image", *option_names, "target", "out", "html")
    if any(getattr(args, name) is not None for name in excluded_arguments) or args.method != ALL_METHODS:
        options_text = ", ".join(["IMAGE", *(f"--{name}" for name in option_names), "--method", "--target", "--html"])
        raise PellucidError(f"--page is for the whole network; give it without {options_text} and --out")
    if args.retrain is not None and args.retrain < 1:
        raise PellucidError(f"--retrain: train for at least one epoch, not {args.retrain}")
    make_folder(Path(args.page))
    model = open_model(args.model, args.device)
    data = task_of(model).held_out(model, args.data)
    retraining = _retrain_variants(model, data, args) if args.retrain is not None else None
    page = page_contents(
        model, data, Path(args.model).stem, epochs=epoch_weights(model, Path(args.model)), retraining=retraining
    )
    index_path = write_page(Path(args.page), page)
    rows = [{"removed": row.name, "parameters": row.parameters, "accuracy": row.accuracy} for row in page.ablations]
    layers = [
        {"path": layer.path, "maps": layer.maps, "silent": layer.n_silent, "field": list(layer.field_size)}
        for layer in page.layers
    ]
    page_values = {"model": args.model, "page": str(index_path), "data": page.data, "n": len(page.images)}
    print_result(
        args,
        {**page_values, "accuracy": page.accuracy, "layers": layers, "ablations": rows},
        *(f"without {row['removed']}: {percent(row['accuracy'])}" for row in rows),
        f"wrote {index_path}",
    )
    return 0


def _retrain_variants(model: "Model", test: "Dataset", args: argparse.Namespace) -> "Retraining":
    """Train variants of the model's network on evenly chosen images of its training data; `test` evaluates them."""
    from pellucid.explain.retrained import retrain_variants
    from pellucid.recipe.material import load_splits
    from pellucid.recipe.model_data import check_data_in_run_folder, data_for_model, data_name, is_data_root, table_for

    name, root = data_name(model), args.data
    if not name or (root is not None and not is_data_root(name, root)):
        raise PellucidError(
            "--retrain uses the data set that the model was trained on; leave --data out, or give the folder "
            "that contains the data sets"
        )
    check_data_in_run_folder(name, model.source)
    train = data_for_model(
        model.nominal_shape, model.classes, load_splits(table_for(model.nominal_shape, name), root).train
    )
    return retrain_variants(model, train.evenly(MAX_IMAGES), test, args.retrain, verbose=not args.json)
