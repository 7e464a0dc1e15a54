"""`pellucid data`: list, download, check, show and convert data sets and folders of annotated images."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, plural, table
from pellucid.command.args import Action, Actions, Parser
from pellucid.command.files import check_output_path, html_output_path
from pellucid.command.out import print_json, print_lines, print_result
from pellucid.command.progress import CountProgress, DownloadProgress
from pellucid.data.format_names import ANNOTATION_FORMATS, WRITTEN_FORMATS


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions("data", "Manage the built-in data sets, and folders of annotated images.", ACTIONS)


def list_parser() -> Parser:
    """Return the parser of this action."""
    return Parser("data list", "List the built-in data sets.").data_option().json_flag()


def list_data(args: argparse.Namespace) -> int:
    """Print a table of the built-in data sets, with their state on this machine."""
    from pellucid.data.catalogue import data_root
    from pellucid.data.entries import CATALOGUE

    root = data_root(args.data)
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "about": entry.about,
            "present": entry.kind == "bundled" or (root / entry.path).exists(),
            "download": bool(entry.sources),
        }
        for entry in CATALOGUE.values()
    ]
    states = ("present" if row["present"] else "downloadable" if row["download"] else "manual" for row in rows)
    cells = [(row["name"], state, f"{row['title']}: {row['about']}") for row, state in zip(rows, states, strict=True)]
    print_result(args, {"root": str(root), "data": rows}, f"data root: {root}", *table(cells))
    return 0


def get_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser("data get", "Download the files of a data set that are missing or wrong.")
    parser.add_argument("name", metavar="NAME", help="the name of a data set; `pellucid data list` shows all names")
    return parser.data_option().json_flag()


def get_data(args: argparse.Namespace) -> int:
    """Download a data set, and print the status of each file."""
    from pellucid.data.catalogue import get

    progress = DownloadProgress()
    try:
        files = get(args.name, args.data, progress if sys.stderr.isatty() and not args.json else None)
    finally:
        progress.end()
    rows = [{"path": path, "status": status} for path, status in files]
    print_result(args, {"name": args.name, "files": rows}, *(f"{status}: {path}" for path, status in files))
    return 0


def check_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser("data check", "Check all files of one data set, or of all data sets that are present.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the name of a data set (default: all)")
    return parser.data_option().json_flag()


def check_data(args: argparse.Namespace) -> int:
    """Print the status of each file; raise PellucidError (exit code 2) if a file is wrong."""
    from pellucid.data.catalogue import check, how_to_obtain
    from pellucid.data.entries import CATALOGUE

    names = [args.name] if args.name is not None else list(CATALOGUE)
    rows = [{"name": name, "path": path, "status": status} for name in names for path, status in check(name, args.data)]
    accepted_statuses = ("ok",) if args.name is not None else ("ok", "missing")
    damaged_files = [row for row in rows if not row["status"].startswith(accepted_statuses)]
    print_result(
        args,
        {"ok": not damaged_files, "files": rows},
        *(f"{row['name']}: {row['status']}: {row['path']}" for row in rows),
    )
    if damaged_files:
        name, path, status = damaged_files[0]["name"], damaged_files[0]["path"], damaged_files[0]["status"]
        advice = how_to_obtain(CATALOGUE[name], Path(path))
        raise PellucidError(f"{path}: {status}" if advice in status else f"{path}: {status}; {advice}")
    return 0


def show_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "data show",
        "Look at data as a network receives them, before or after a training: examples with their targets, numbers of "
        "each part, images that two parts share, and differences that are larger than chance.",
    )
    parser.add_argument("source", metavar="DATA", help="a data set, or a folder, a .zip or a file of your own data")
    parser.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="settings of the recipe, such as data.size=320, see train"
    )
    parser.add_argument(
        "--task",
        metavar="TASK",
        help="plan the recipe as `pellucid train TASK DATA` does (default: the first task that fits the data)",
    )
    parser.add_argument("--recipe", metavar="RECIPE", help="a recipe's name or file, whose data are replaced by DATA")
    parser.add_argument("--out", metavar="FILE.png", help="deprecated: write a sheet of annotated images instead")
    return parser.data_option().html_option().json_flag()


def show_data(args: argparse.Namespace) -> int:
    """Print the numbers and the differences, and write the page of `--html`."""
    from pellucid.base.files import write_atomically
    from pellucid.recipe.recipe import load_recipe, parse_overrides
    from pellucid.recipe.shown_data import page_of_recipe, planned_recipe

    if args.out is not None:
        return _write_sheet(args)
    html_path = html_output_path(args)
    if args.recipe is not None and args.task is not None:
        raise PellucidError("--recipe has a task of its own; leave out --task")
    overrides = parse_overrides(args.settings)
    if args.recipe is None:
        recipe = planned_recipe(args.source, args.task, args.data, overrides)
    else:
        recipe = load_recipe(args.recipe, {**overrides, "data.name": args.source})
    page = page_of_recipe(recipe, args.data)
    if html_path is not None:
        write_atomically(html_path, page.html().encode())
    print_result(args, {"recipe": recipe.name, **page.to_json()}, *str(page).split("\n"))
    return 0


def _write_sheet(args: argparse.Namespace) -> int:
    """Write the contact sheet of `--out`, which is deprecated, and print its path."""
    from pellucid.base.files import write_atomically
    from pellucid.data import DetectionFolder
    from pellucid.data.annotations.formats import find_format, parts_in_order
    from pellucid.data.annotations.sheet import contact_sheet
    from pellucid.data.catalogue import annotated_path
    from pellucid.data.tree import open_tree
    from pellucid.report.figures.style import png

    out_path = check_output_path(args.out, "--out", (".png",))
    note("--out of data show is deprecated and will be removed in release 0.5; use --html, which shows any data")
    path = annotated_path(args.source, args.data)
    with open_tree(path) as tree:
        names = parts_in_order(find_format(tree)[1]) or ("",)
    parts = [first_part := DetectionFolder(path, names[0])]
    parts += [DetectionFolder(path, name, classes=first_part.classes) for name in names[1:]]
    figure, shown_names = contact_sheet(parts)
    n_images = sum(map(len, parts))
    write_atomically(out_path, png(figure))
    print_result(
        args,
        {"file": str(out_path), "images": shown_names, "of": n_images, "classes": first_part.classes},
        f"{out_path}: {len(shown_names)} of {plural(n_images, 'image')}",
    )
    return 0


def lint_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "data lint",
        "List the faults of annotated images by file and line: files and images that cannot be read, boxes without "
        "area or outside their image, unknown classes, objects and images annotated twice, images without objects, and "
        "images with a near duplicate in another part. Also of masks, class folders and other images: those that "
        "cannot be read, values of masks without a class, parts and files that are not used, and files that may be "
        "annotations. The exit code is 2 if training would refuse a file.",
    )
    parser.add_argument("source", metavar="NAME|FOLDER", help="a data set, or a folder or .zip of images")
    return parser.data_option().json_flag()


def lint_data(args: argparse.Namespace) -> int:
    """Print a line for each fault, and the counts; return 2 if training would refuse a file."""
    from pellucid.data.annotations.lint import lint
    from pellucid.data.catalogue import annotated_path
    from pellucid.data.entries import CATALOGUE

    is_path = args.source not in CATALOGUE and Path(args.source).exists()
    path = Path(args.source) if is_path else annotated_path(args.source, args.data)
    progress = CountProgress(not args.json)
    faults_found = lint(path, lambda done, total: progress("image", done, total))
    progress.end()
    counts: Counter[str] = Counter()
    for fault in faults_found.faults:
        counts[fault.effect] += fault.count
    parts = {
        name: {"images": part.images, "objects": part.objects, "empty": part.empty}
        for name, part in faults_found.parts.items()
    }
    rows = [
        {"file": fault.file, "line": fault.line, "reason": fault.reason, "effect": fault.effect}
        for fault in faults_found.faults
    ]
    lines = [f"{fault} [{fault.effect}]" for fault in faults_found.faults]
    lines += faults_found.recognized
    for name, part in faults_found.parts.items():
        empty_text = f", {part.empty:,} without objects" if part.empty else ""
        lines.append(f"{name or 'all'}: {plural(part.images, 'image')}{empty_text}, {plural(part.objects, 'object')}")
    effects = ", ".join(f"{count:,} {effect}" for effect, count in sorted(counts.items()))
    lines.append(f"{faults_found.format_name}: {plural(counts.total(), 'fault')}{f': {effects}' if effects else ''}")
    print_result(args, {"format": faults_found.format_name, "parts": parts, "counts": counts, "faults": rows}, *lines)
    return 2 if counts["refused"] else 0


def convert_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser("data convert", "Write annotated images in another format; the images are copied.")
    parser.add_argument(
        "source", metavar="IN", help=f"a folder or .zip with masks, or {ANNOTATION_FORMATS} annotations"
    )
    parser.add_argument("out", metavar="OUT", help="the folder to write, new or empty")
    parser.add_argument(
        "--to", metavar="FORMAT", required=True, help=f"{', '.join(WRITTEN_FORMATS[:-1])} or {WRITTEN_FORMATS[-1]}"
    )
    parser.add_argument(
        "--background",
        metavar="CLASS",
        help="the class of masks whose regions become no objects (default: background, if there is such a class)",
    )
    return parser.json_flag()


# The printed text for a key of `Conversion.lost`; other keys are printed unchanged.
LOST_LABELS = {
    "crowd": "crowd flag",
    "masks": "separate masks",
    "void": "pixels without a class",
    "box": "given box beside the polygon",
}


def convert_data(args: argparse.Namespace) -> int:
    """Convert annotated images; print what was written and what the new format cannot represent."""
    from pellucid.data.annotations.base import fault_summary
    from pellucid.data.annotations.convert import convert

    conversion = convert(args.source, args.out, args.to, args.background)
    faults = [str(fault) for fault in conversion.faults]
    if args.json:
        formats = {"from": conversion.source, "to": args.to, "out": args.out}
        print_json(
            {
                **formats,
                "images": conversion.images,
                "objects": conversion.objects,
                "lost": conversion.lost,
                "faults": faults,
            }
        )
        return 0
    for part, count in conversion.images.items():
        print_lines(f"{part or 'all'}: {plural(count, 'image')}, {plural(conversion.objects[part], 'object')}")
    for key, count in conversion.lost.items():
        noun = "image" if key == "void" else "object"
        note(f"{args.to} cannot represent the {LOST_LABELS.get(key, key)} of {plural(count, noun)}")
    if text := fault_summary(conversion.faults):
        note(text)
    print_lines(f"{conversion.source} to {args.to}: {args.out}")
    return 0


ACTIONS = {
    "list": Action("list the built-in data sets", list_parser, list_data),
    "get": Action("download a data set", get_parser, get_data),
    "check": Action("check the files of one data set, or of all that are present", check_parser, check_data),
    "show": Action("look at data as a network receives them: examples, numbers, differences", show_parser, show_data),
    "lint": Action("list the faults of annotated images by file", lint_parser, lint_data),
    "convert": Action(f"write annotated images in another format: {ANNOTATION_FORMATS}", convert_parser, convert_data),
}
