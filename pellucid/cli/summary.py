"""`pellucid summary`: the layers, shapes and sizes of a network."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("summary", "Show each layer's output shape, parameters, multiply-adds and memory for one image.")
    it.add_argument("what", metavar="MODEL|RECIPE", help=f"{MODEL_HELP}, or a recipe")
    it.add_argument("settings", nargs="*", metavar="key=value", help="changes to the recipe")
    return it.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table."""
    from pellucid.cli.nets import open_net
    from pellucid.cli.out import emit
    from pellucid.train.summary import summary

    it = open_net(args.what, args.settings, args.data)
    table = summary(it.net, it.params, it.input_shape)
    if args.json:
        emit({"what": args.what, "input_shape": it.input_shape, **table.to_json()})
    else:
        print(table)
    return 0
