"""`pellucid calc receptive-field`: the receptive field after each of several layers."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.calc.params import LAYERS_HELP


def parser() -> Parser:
    """Return the parser of this command."""
    about = "Compute the receptive field of one unit of each layer, and the step in pixels between neighbouring units."
    parser = Parser("calc receptive-field", about)
    parser.add_argument("layers", nargs="+", metavar="LAYERS", help=LAYERS_HELP)
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the receptive fields as a table."""
    from pellucid.cli.out import emit, say_text
    from pellucid.network.counts import read_layers, receptive_field
    from pellucid.network.summary import describe, shape_text
    from pellucid.text import aligned

    net = read_layers(", ".join(args.layers))
    found = receptive_field(net)
    layers = [describe(layer) for layer in net.children.values()]
    if args.json:
        rows = [{"layer": layer, **reach._asdict()} for layer, reach in zip(layers, found, strict=True)]
        emit({"receptive_field": found[-1].field, "step": found[-1].step, "layers": rows})
        return 0
    rows = [
        (layer, shape_text(reach.field), shape_text(reach.step)) for layer, reach in zip(layers, found, strict=True)
    ]
    say_text(aligned([("layer", "receptive field", "step"), *rows], right={1, 2}))
    return 0
