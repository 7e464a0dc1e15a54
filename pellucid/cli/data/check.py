"""`pellucid data check`: check the files of data sets."""

import argparse

from pellucid.cli.args import Parser
from pellucid.errors import PellucidError


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("data check", "Check all files of one data set, or of all data sets that are present.")
    it.add_argument("name", nargs="?", metavar="NAME", help="the name of a data set (default: all)")
    return it.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the status of each file; exit 2 if one is wrong."""
    from pellucid.cli.out import emit, say
    from pellucid.data.catalogue import CATALOGUE, check

    names = [args.name] if args.name is not None else list(CATALOGUE)
    rows = [{"name": name, "path": path, "status": status} for name in names for path, status in check(name, args.data)]
    fine = ("ok",) if args.name is not None else ("ok", "missing")
    bad = [row for row in rows if not row["status"].startswith(fine)]
    if args.json:
        emit({"ok": not bad, "files": rows})
    else:
        for row in rows:
            say(f"{row['name']}: {row['status']}: {row['path']}")
    if bad:
        raise PellucidError(f"{bad[0]['path']}: {bad[0]['status']}; try `pellucid data get {bad[0]['name']}`")
    return 0
