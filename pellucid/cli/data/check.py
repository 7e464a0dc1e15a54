"""`pellucid data`: list, download and check the built-in data sets."""

import argparse
import sys

from pellucid.cli.args import Parser, check_action
from pellucid.cli.progress import Downloading
from pellucid.errors import PellucidError

ACTIONS = ("list", "get", "check")


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("data", "List, download and check data sets: list, get NAME, check [NAME].")
    it.add_argument("action", metavar="ACTION", help="list, get or check")
    it.add_argument("name", nargs="?", metavar="NAME", help="the name of a data set")
    return it.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Run the action."""
    check_action("data", args.action, ACTIONS)
    if args.action == "list":
        if args.name is not None:
            raise PellucidError(f"pellucid data list takes no name; use: pellucid data check {args.name}")
        return _list(args)
    if args.action == "get":
        if args.name is None:
            raise PellucidError("pellucid data get needs the name of a data set; `pellucid data list` shows them")
        return _get(args)
    return _check(args)


def _list(args: argparse.Namespace) -> int:
    from pellucid.cli.out import emit, say, say_text
    from pellucid.data.catalogue import CATALOGUE, data_root
    from pellucid.text import aligned

    root = data_root(args.data)
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "about": entry.about,
            "present": entry.kind == "bundled" or (root / entry.place).exists(),
            "download": bool(entry.sources),
        }
        for entry in CATALOGUE.values()
    ]
    if args.json:
        emit({"root": str(root), "data": rows})
        return 0
    say(f"data root: {root}")
    states = ("here" if row["present"] else "get" if row["download"] else "by hand" for row in rows)
    table = [(row["name"], state, f"{row['title']}: {row['about']}") for row, state in zip(rows, states, strict=True)]
    say_text(aligned(table))
    return 0


def _get(args: argparse.Namespace) -> int:
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


def _check(args: argparse.Namespace) -> int:
    """Check all files of one data set, or of all data sets that are present."""
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
