"""`pellucid trace`: every number of one forward and backward pass, and why the loss changes with one of them."""

import argparse
from typing import TYPE_CHECKING

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.model import Model

MOST = 1000  # products


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser(
        "trace",
        "Run one picture forward and backward, and explain a derivative of the loss link by link, with its numbers.",
    )
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument("image", metavar="IMAGE", help="a PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF file")
    it.add_argument("--target", metavar="CLASS", help="the class that the loss asks for (default: what the model sees)")
    it.add_argument(
        "--weight",
        metavar="PATH",
        help="the number to explain, 'dense2.weight[3, 17]', 'relu1.y[0, 3, 2, 2]', 'x[0, 0, 14, 14]'; of a whole "
        "tensor its number of the largest gradient",
    )
    it.add_argument("--nudge", metavar="H", type=float, help="add H to that number, and see what the loss does")
    it.add_argument("--top", metavar="N", type=int, default=6, help="products of each sum to show (default: 6)")
    return it.html_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the trace, or the explanation of one number and what a nudge does."""
    import torch

    from pellucid.cli.html import html_place, write_html
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, say, say_text
    from pellucid.errors import PellucidError
    from pellucid.tasks.pictures import read_picture
    from pellucid.trace import trace

    if args.nudge is not None and args.weight is None:
        raise PellucidError("--nudge moves the number that --weight names; give both")
    if not 1 <= args.top <= MOST:
        raise PellucidError(f"--top is {args.top}; give 1 to {MOST}")
    place = html_place(args)
    model = open_model(args.model)
    x = read_picture(model, args.image)[None]
    label, number = _target(model, x, args.target)
    traced = trace(model, x, torch.tensor([number]))
    told = [] if args.weight is None else [traced.explain(args.weight, args.top)]
    moved = [] if args.nudge is None or args.weight is None else [traced.nudge(args.weight, args.nudge)]
    if place is not None:
        body = "\n".join(part._repr_html_() for part in [*(told or [traced]), *moved])
        write_html(place, body, f"{args.model}, {args.image}")
    if args.json:
        emit(
            {
                "model": args.model,
                "image": args.image,
                "target": label,
                "trace": traced.to_json(),
                "explanation": told[0].to_json() if told else None,
                "nudge": moved[0].to_json() if moved else None,
            }
        )
        return 0
    why = "" if args.target else ", which is what it sees"
    say(f"{args.model} on {args.image}, asked for {label}{why}", "")
    say_text("\n\n".join(str(one) for one in [*(told or [traced]), *moved]))
    if not told:
        say("", "explain one number with --weight 'NAME[i, j]', move it with --nudge H; all names are in --json")
    return 0


def _target(model: "Model", x: "Tensor", asked: str | None) -> tuple[str, int]:
    """Return the class to ask for, by name or by number, and its number; the predicted class by default."""
    from pellucid.cli.target import class_number
    from pellucid.metrics import class_scores
    from pellucid.tasks.classes import class_names

    classes = class_names(model)
    number = int(class_scores(model.predict(x))[0].argmax()) if asked is None else class_number(asked, classes)
    return classes[number], number
