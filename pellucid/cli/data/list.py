"""`pellucid data list`: the built-in data sets, and which are present."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    return Parser("data list", "List the built-in data sets.").data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table."""
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
    states = ("present" if row["present"] else "downloadable" if row["download"] else "manual" for row in rows)
    table = [(row["name"], state, f"{row['title']}: {row['about']}") for row, state in zip(rows, states, strict=True)]
    say_text(aligned(table))
    return 0
