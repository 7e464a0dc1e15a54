"""`pellucid data show`: a contact sheet of annotated images."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("data show", "Draw images of a set, evenly chosen, with their boxes, masks and key-points.")
    it.add_argument("source", metavar="NAME|FOLDER", help="a data set, or a folder or .zip of annotated images")
    it.add_argument("--out", metavar="FILE.png", required=True, help="the picture to write")
    return it.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the picture, and print its path."""
    from pellucid.cli.files import check_place
    from pellucid.cli.out import emit, say
    from pellucid.data.annotations.sheet import contact_sheet
    from pellucid.data.catalogue import annotated_path, load
    from pellucid.files import write_atomically
    from pellucid.report.figures.style import png
    from pellucid.text import plural

    place = check_place(args.out, "--out", (".png",))
    annotated_path(args.source, args.data)
    source = load(args.source, args.data).train
    figure, shown = contact_sheet(source)
    write_atomically(place, png(figure))
    if args.json:
        emit({"file": str(place), "images": shown, "of": len(source), "classes": source.classes})
    else:
        say(f"{place}: {len(shown)} of {plural(len(source), 'image')}")
    return 0
