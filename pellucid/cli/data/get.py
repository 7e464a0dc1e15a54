"""`pellucid data get`: download a data set."""

import argparse
import sys

from pellucid.cli.args import Parser
from pellucid.cli.progress import Downloading


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("data get", "Download the files of a data set that are missing or wrong.")
    it.add_argument("name", metavar="NAME", help="the name of a data set; `pellucid data list` shows them")
    return it.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Download, and print what was done with each file."""
    from pellucid.cli.out import emit, say
    from pellucid.data.catalogue import get

    progress = Downloading()
    files = get(args.name, args.data, progress if sys.stderr.isatty() and not args.json else None)
    progress.end()
    if args.json:
        emit({"name": args.name, "files": [{"path": path, "status": status} for path, status in files]})
    else:
        for path, status in files:
            say(f"{status}: {path}")
    return 0
