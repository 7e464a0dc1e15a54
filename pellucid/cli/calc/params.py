"""`pellucid calc params`: the weights, biases and multiply-adds of layers in sequence."""

import argparse
import re

from pellucid.cli.args import Parser
from pellucid.errors import PellucidError

LAYERS_HELP = "as in Python: 'Conv2d(20, 5, padding=2), ReLU, MaxPool2d(2), Flatten, Dense(10)'"


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "calc params", "Count the weights, biases and multiply-adds of layers in sequence, for one example."
    )
    parser.add_argument(
        "input", metavar="INPUT", help="shape of an example: CxHxW, such as 3x227x227, or a length: 784"
    )
    parser.add_argument("layers", nargs="+", metavar="LAYERS", help=LAYERS_HELP)
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the counts as a table."""
    from pellucid.cli.out import emit, say, say_text
    from pellucid.network.counts import counts, read_layers

    shape = _shape(args.input)
    found = counts(read_layers(", ".join(args.layers)), shape)
    if args.json:
        emit({"input_shape": shape, **found.to_json()})
        return 0
    say_text(str(found))
    say(
        f"parameters: {found.parameters:,}",
        f"distinct entries of the Hessian of the loss, W (W + 1) / 2: {found.hessian_entries:,}",
        f"parameters of a local quadratic approximation of the loss, W (W + 3) / 2: {found.quadratic_parameters:,}",
    )
    return 0


def _shape(text: str) -> tuple[int, ...]:
    """Return (channels, height, width) of "3x227x227", or (length,) of "784"; raises PellucidError otherwise."""
    if not re.fullmatch(r"[1-9][0-9]{0,6}(x[1-9][0-9]{0,6}x[1-9][0-9]{0,6})?", text):
        raise PellucidError(
            f"INPUT {text!r} is not a shape; write channels, height and width as in 3x227x227, or a length as in 784"
        )
    return tuple(map(int, text.split("x")))
