"""`pellucid predict`: classify images."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import answer, note_skipped
from pellucid.errors import PellucidError
from pellucid.text import percent

MAX_CLASSES = 3  # most probable classes that the text output lists


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("predict", "Classify images of any size; digits may be dark on light or light on dark.")
    parser.model_argument()
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF files")
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the label and probabilities of each image, and report on stderr why images were skipped."""
    from pellucid.calibration.familiarity import score_suffix, score_to_json
    from pellucid.tasks.classify.predict import Prediction, predict
    from pellucid.tasks.pictures import class_names

    model = open_model(args.model, args.device)
    class_names(model)  # raises once for a model without class names
    found: list[Prediction] = []
    faults: dict[str, PellucidError] = {}
    for image in args.images:
        try:
            found.append(predict(model, image))
        except PellucidError as error:
            faults[image] = error
    skipped = note_skipped(faults)
    if not found:
        return 2
    rows = [
        {
            "image": one.name,
            "label": one.label,
            "probability" if one.are_probabilities else "score": one.output,
            "probabilities" if one.are_probabilities else "scores": one.outputs,
            **score_to_json(one.familiarity),
        }
        for one in found
    ]
    lines: list[str] = []
    for one in found:
        best = sorted(one.outputs.items(), key=lambda pair: -pair[1])[:MAX_CLASSES]
        probable = one.are_probabilities
        listed = ", ".join(f"{label} {percent(value) if probable else f'{value:.4g}'}" for label, value in best)
        suffix = score_suffix(one.familiarity)
        lines.append(f"{one.name}: {one.label}  ({'' if probable else 'scores: '}{listed}){suffix}")
    single = rows[0] if len(args.images) == 1 else {}
    answer(args, {"model": args.model, **single, "predictions": rows, "skipped": skipped}, *lines)
    return 2 if faults else 0
