"""`pellucid summary`: the layers, shapes and sizes of a network, and a drawing of it."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

DRAWN = (".png", ".svg")
INPUT_HELP = (
    "size of the input image of a NETWORK, or of a MODEL or RECIPE whose network takes any size (default: that of its "
    "images, else 224x224)"
)


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("summary", "Show each layer's output shape, parameters, multiply-adds and memory for one image.")
    it.add_argument("what", metavar="MODEL|RECIPE|NETWORK", help=f"{MODEL_HELP}, a recipe, or a network such as vgg16")
    it.add_argument("settings", nargs="*", metavar="key=value", help="changes to the recipe or the network")
    it.add_argument("--input", metavar="CxHxW", help=INPUT_HELP)
    it.add_argument("--draw", metavar="FILE", help="draw the network into a .png or .svg file")
    return it.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table, and write the drawing."""
    from pellucid.cli.files import check_place
    from pellucid.cli.nets import open_outline
    from pellucid.cli.out import emit, say, say_text
    from pellucid.network.summary import shape_text, summary

    drawing = None if args.draw is None else check_place(args.draw, "--draw", DRAWN)
    it = open_outline(args.what, args.settings, args.data, args.input)
    table = summary(it.net, it.params, it.input_shape)
    if drawing is not None:
        from pellucid.files import write_atomically
        from pellucid.network.drawing import draw_network
        from pellucid.report.figures.style import file_of

        write_atomically(drawing, file_of(draw_network(it.net, it.input_shape), drawing.suffix), durable=False)
    if args.json:
        drawn = {} if drawing is None else {"drawing": str(drawing)}
        emit({"what": args.what, "input_shape": it.input_shape, **table.to_json(), **drawn})
        return 0
    free = ", which may have any size (--input chooses it)" if None in it.takes else ""
    say(f"for one input of {shape_text(it.input_shape)}{free}", "")
    say_text(str(table))
    if drawing is not None:
        say(f"wrote {drawing}")
    return 0
