"""`pellucid data show`: draw a contact sheet of annotated images."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("data show", "Draw evenly chosen images of a data set with their boxes, masks and key-points.")
    parser.add_argument("source", metavar="NAME|FOLDER", help="a data set, or a folder or .zip of annotated images")
    parser.add_argument("--out", metavar="FILE.png", required=True, help="the PNG file to write")
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the contact sheet, and print its path."""
    from pellucid.cli.files import check_place
    from pellucid.cli.out import emit, say
    from pellucid.data import DetectionFolder
    from pellucid.data.annotations.layout import find_format, parts_in_order
    from pellucid.data.annotations.sheet import contact_sheet
    from pellucid.data.catalogue import annotated_path
    from pellucid.data.tree import open_tree
    from pellucid.files import write_atomically
    from pellucid.report.figures.style import png
    from pellucid.text import plural

    place = check_place(args.out, "--out", (".png",))
    path = annotated_path(args.source, args.data)
    with open_tree(path) as tree:
        names = parts_in_order(find_format(tree)[1]) or ("",)
    parts = [first := DetectionFolder(path, names[0])]
    parts += [DetectionFolder(path, name, classes=first.classes) for name in names[1:]]
    figure, shown = contact_sheet(parts)
    count = sum(map(len, parts))
    write_atomically(place, png(figure))
    if args.json:
        emit({"file": str(place), "images": shown, "of": count, "classes": first.classes})
    else:
        say(f"{place}: {len(shown)} of {plural(count, 'image')}")
    return 0
