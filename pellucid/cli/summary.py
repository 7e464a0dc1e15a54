"""`pellucid summary`: show the layers, shapes and sizes of a network, and draw it."""

import argparse
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.command.args import Parser
from pellucid.command.files import check_output_path, html_output_path
from pellucid.command.out import print_result
from pellucid.shipped_files import MODEL_HELP

if TYPE_CHECKING:
    from pathlib import Path

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
    parser.add_argument(
        "--html", metavar="FILE", help="write the layers of a MODEL with their filters, feature maps and gradients"
    )
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table of layers, and write the drawing and the page."""
    from pellucid.cli.nets import open_outline
    from pellucid.network.summary import shape_text, summary

    html_path = html_output_path(args)
    if html_path is not None and (args.settings or args.input is not None):
        raise PellucidError("--html shows a trained model as it runs; give it without settings and --input")
    drawing_path = None if args.draw is None else check_output_path(args.draw, "--draw", DRAWING_SUFFIXES)
    if html_path is not None:
        _write_html(html_path, args)
    network = open_outline(args.what, args.settings, args.data, args.input)
    table = summary(network.net, network.params, network.input_shape)
    table = table if args.depth is None else table.by_module(args.depth)
    if drawing_path is not None:
        from pellucid.network.drawing import draw_network
        from pellucid.report.figures.style import figure_file

        write_atomically(
            drawing_path,
            figure_file(draw_network(network.net, network.input_shape), drawing_path.suffix),
            durable=False,
        )
    free_text = ", which may have any size (--input chooses it)" if None in network.accepted_shape else ""
    print_result(
        args,
        {
            "what": args.what,
            "input_shape": network.input_shape,
            **table.to_json(),
            **({} if drawing_path is None else {"drawing": str(drawing_path)}),
            **({} if html_path is None else {"html": str(html_path)}),
        },
        f"for one input of {shape_text(network.input_shape)}{free_text}",
        "",
        *str(table).split("\n"),
        *(f"wrote {path}" for path in (drawing_path, html_path) if path is not None),
    )
    return 0


def _write_html(path: "Path", args: argparse.Namespace) -> None:
    """Write the studio's view Inspect of a trained model as one page."""
    from pellucid.command.models import open_model
    from pellucid.studio.inspect.file import inspected_file

    write_atomically(path, inspected_file(open_model(args.what), args.what).encode(), durable=False)
