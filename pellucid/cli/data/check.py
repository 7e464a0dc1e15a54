"""`pellucid data check`: check the files of data sets."""

import argparse
from pathlib import Path

from pellucid.cli.args import Parser
from pellucid.errors import PellucidError


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("data check", "Check all files of one data set, or of all data sets that are present.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the name of a data set (default: all)")
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the status of each file; raises PellucidError (exit code 2) if one is wrong."""
    from pellucid.cli.out import emit, say
    from pellucid.data.catalogue import CATALOGUE, by_hand, check

    names = [args.name] if args.name is not None else list(CATALOGUE)
    rows = [{"name": name, "path": path, "status": status} for name in names for path, status in check(name, args.data)]
    accepted = ("ok",) if args.name is not None else ("ok", "missing")
    bad = [row for row in rows if not row["status"].startswith(accepted)]
    if args.json:
        emit({"ok": not bad, "files": rows})
    else:
        for row in rows:
            say(f"{row['name']}: {row['status']}: {row['path']}")
    if bad:
        name, path, status = bad[0]["name"], bad[0]["path"], bad[0]["status"]
        advice = by_hand(CATALOGUE[name], Path(path))
        raise PellucidError(f"{path}: {status}" if advice in status else f"{path}: {status}; {advice}")
    return 0
