"""`pellucid summary`: show the layers, shapes and sizes of a network, and draw it."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.files import check_place
from pellucid.command.out import answer
from pellucid.files import write_atomically
from pellucid.shipped_files import MODEL_HELP

DRAWING_SUFFIXES = (".png", ".svg")
INPUT_HELP = (
    "shape of the input image for a NETWORK, or for a MODEL or RECIPE whose network takes images of any size (default: "
    "the shape of the images that it is for, with 224x224 pixels if it takes any size)"
)


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("summary", "Show each layer's output shape, parameters, multiply-adds and memory for one image.")
    parser.add_argument(
        "what", metavar="MODEL|RECIPE|NETWORK", help=f"{MODEL_HELP}, a recipe, or a network such as vgg16"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="changes to the recipe or the network")
    parser.add_argument("--input", metavar="CxHxW", help=INPUT_HELP)
    parser.add_argument(
        "--depth", type=int, metavar="N", help="one row for all layers whose paths share their first N parts"
    )
    parser.add_argument("--draw", metavar="FILE", help="draw the network into a .png or .svg file")
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table, and write the drawing."""
    from pellucid.cli.nets import open_outline
    from pellucid.network.summary import shape_text, summary

    drawing = None if args.draw is None else check_place(args.draw, "--draw", DRAWING_SUFFIXES)
    network = open_outline(args.what, args.settings, args.data, args.input)
    table = summary(network.net, network.params, network.input_shape)
    table = table if args.depth is None else table.by_module(args.depth)
    if drawing is not None:
        from pellucid.network.drawing import draw_network
        from pellucid.report.figures.style import file_of

        write_atomically(
            drawing, file_of(draw_network(network.net, network.input_shape), drawing.suffix), durable=False
        )
    free = ", which may have any size (--input chooses it)" if None in network.takes else ""
    answer(
        args,
        {
            "what": args.what,
            "input_shape": network.input_shape,
            **table.to_json(),
            **({} if drawing is None else {"drawing": str(drawing)}),
        },
        f"for one input of {shape_text(network.input_shape)}{free}",
        "",
        *str(table).split("\n"),
        *([] if drawing is None else [f"wrote {drawing}"]),
    )
    return 0
