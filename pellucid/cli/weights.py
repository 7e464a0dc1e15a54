"""`pellucid weights`: list and download published weights, and show the tensors of a file."""

import argparse
import sys
from functools import partial
from pathlib import Path

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.base.text import plural, table
from pellucid.command.args import Parser, check_action
from pellucid.command.out import print_result
from pellucid.command.progress import DownloadProgress

ACTIONS = ("list", "get", "show")


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("weights", "List, download and show files of pretrained weights: list, get NAME, show FILE.")
    parser.add_argument("action", metavar="ACTION", help="list, get or show")
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="a name from the list; for show, a weights file or a pretrained model's name",
    )
    return parser.data_option("the folder with the subfolder weights/ for these files").json_flag()


def handle(args: argparse.Namespace) -> int:
    """Run the action list, get or show."""
    check_action("weights", args.action, ACTIONS)
    if args.action == "list":
        if args.name is not None:
            raise PellucidError(
                f"pellucid weights list takes no name; to download {args.name!r}, use: pellucid weights get {args.name}"
            )
        return _list_weights(args)
    if args.name is None:
        missing_argument = (
            "a name; `pellucid weights list` shows all names" if args.action == "get" else "a weights file"
        )
        raise PellucidError(f"pellucid weights {args.action} needs {missing_argument}")
    return _download(args) if args.action == "get" else _show_tensors(args)


def _list_weights(args: argparse.Namespace) -> int:
    from pellucid.data.catalogue import data_root
    from pellucid.data.trained_on import is_free, licence_json, training_text
    from pellucid.weights.catalogue import CATALOGUE

    folder = data_root(args.data) / "weights"
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "url": entry.url,
            "checksum": entry.checksum or None,
            "megabytes": entry.megabytes,
            "path": str(folder / entry.file),
            "present": _is_present(folder / entry.file, entry.megabytes),
            "download": entry.has_complete_checksum,
        }
        for entry in CATALOGUE.values()
    ]
    states = ("present" if row["present"] else "downloadable" if row["download"] else "manual" for row in rows)
    cells = [
        (row["name"], state, f"{row['megabytes']} MB", row["title"]) for row, state in zip(rows, states, strict=True)
    ]
    shipped = shipped_files.pretrained_names()
    shipped_cells = [(name, "free" if is_free(name) else "limited", training_text(name)) for name in shipped]
    print_result(
        args,
        {
            "folder": str(folder),
            "weights": rows,
            "shipped": [{"name": name, "licence": licence_json(name)} for name in shipped],
        },
        f"folder: {folder}",
        *table(cells, right={2}),
        f"shipped with pellucid, with the licences of their data ({_licences_file()}):",
        *table(shipped_cells),
    )
    return 0


def _is_present(path: Path, megabytes: int) -> bool:
    """Return whether a file of about the published size exists; the checksum is only compared by `get`."""
    return path.is_file() and megabytes / 2 < path.stat().st_size / 1e6 <= megabytes


def _download(args: argparse.Namespace) -> int:
    from pellucid.data.catalogue import data_root
    from pellucid.weights.catalogue import get

    progress = DownloadProgress()
    report = partial(progress, args.name) if sys.stderr.isatty() and not args.json else None
    try:
        path, status = get(args.name, data_root(args.data) / "weights", report)
    finally:
        progress.end()
    print_result(args, {"name": args.name, "path": str(path), "status": status}, f"{status}: {path}")
    return 0


def _show_tensors(args: argparse.Namespace) -> int:
    from pellucid.data.trained_on import licence_json, training_text
    from pellucid.weights import format_name, open_weights
    from pellucid.weights.fault import quoted
    from pellucid.weights.match import dtype_and_shape

    is_shipped = args.name in shipped_files.pretrained_names()
    path = shipped_files.pretrained_file(args.name) if is_shipped else args.name
    file_format = format_name(path)
    tensors = open_weights(path)
    # Names that begin with "[", such as "[familiarity].0.means", are not weights of the network.
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith("[")}
    n_values = sum(tensor.numel() for tensor in weights.values())
    rows = [
        {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
        for name, tensor in tensors.items()
    ]
    values = {"file": args.name, "format": file_format, "numbers": n_values, "tensors": rows}
    lines = [
        *table([(quoted(name, 200), *dtype_and_shape(tensor).split(" ", 1)) for name, tensor in tensors.items()]),
        f"{file_format}: {plural(len(weights), 'tensor')}, {plural(n_values, 'value')}",
    ]
    if is_shipped:
        values["licence"] = licence_json(args.name)
        lines.append(f"{training_text(args.name)}; see {_licences_file()}")
    print_result(args, values, *lines)
    return 0


def _licences_file() -> Path:
    """Return the path of the table of licences."""
    return shipped_files.shipped_folder("pretrained") / "LICENCES.md"
