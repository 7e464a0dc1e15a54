"""`pellucid demo`: train on the bundled digits and write a report."""

import argparse

from pellucid.command.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("demo", "Train the recipe `digits` on bundled data (no download) and write its report.")
    parser.add_argument("--out", metavar="DIR", default="runs", help="folder for run folders (default: runs)")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Train, print the test accuracy and the report's path, and the next command."""
    from pellucid.command.out import command, say
    from pellucid.command.results import show
    from pellucid.recipe.job import train

    run = train("digits", out=args.out)
    show([run], args.json)
    if not args.json:
        say(f"Open the report in a browser. Next: {command()} evaluate {run.path}")
    return 0
