"""`pellucid predict`: what a model sees in pictures."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

SHOWN = 3  # classes, for people


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("predict", "Classify pictures of any size; digits may be dark on light or light on dark.")
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument("images", metavar="IMAGE", nargs="+", help="PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF files")
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print each picture's label and probabilities; all are read before any is printed."""
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say
    from pellucid.tasks.classify import predict
    from pellucid.train.familiarity import score_suffix, score_to_json

    model = open_model(args.model)
    found = [predict(model, image) for image in args.images]
    rows = [
        {
            "image": one.name,
            "label": one.label,
            "probability": one.probability,
            "probabilities": one.probabilities,
            **score_to_json(one.familiarity),
        }
        for one in found
    ]
    if args.json:
        emit({"model": args.model, **(rows[0] if len(rows) == 1 else {}), "predictions": rows})
        return 0
    for one in found:
        best = sorted(one.probabilities.items(), key=lambda pair: -pair[1])[:SHOWN]
        shares = ", ".join(f"{label} {percent(p)}" for label, p in best)
        say(f"{one.name}: {one.label}  ({shares}){score_suffix(one.familiarity)}")
    return 0
