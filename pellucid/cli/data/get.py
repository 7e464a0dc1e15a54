"""`pellucid data get`: download a data set."""

import argparse
import sys

from pellucid.cli.args import Parser
from pellucid.cli.progress import Downloading


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("data get", "Download the files of a data set that are missing or wrong.")
    parser.add_argument("name", metavar="NAME", help="the name of a data set; `pellucid data list` shows all names")
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Download, and print the status of each file."""
    from pellucid.cli.out import emit, say
    from pellucid.data.catalogue import get

    progress = Downloading()
    try:
        files = get(args.name, args.data, progress if sys.stderr.isatty() and not args.json else None)
    finally:
        progress.end()
    if args.json:
        emit({"name": args.name, "files": [{"path": path, "status": status} for path, status in files]})
    else:
        for path, status in files:
            say(f"{status}: {path}")
    return 0
