"""`pellucid data convert`: write annotated images in another format."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("data convert", "Write annotated images in another format; the images are copied.")
    parser.add_argument(
        "source", metavar="IN", help="a folder or .zip with Pascal VOC, COCO, YOLO or labelme annotations"
    )
    parser.add_argument("out", metavar="OUT", help="the folder to write, new or empty")
    parser.add_argument("--to", metavar="FORMAT", required=True, help="voc, coco, yolo or labelme")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Convert, and print what was written and what the format cannot represent."""
    from pellucid.cli.out import emit, say
    from pellucid.data.annotations.base import summary
    from pellucid.data.annotations.convert import convert
    from pellucid.text import note, plural

    done = convert(args.source, args.out, args.to)
    faults = [str(fault) for fault in done.faults]
    if args.json:
        emit(
            {
                "from": done.source,
                "to": args.to,
                "out": args.out,
                "images": done.images,
                "objects": done.objects,
                "lost": done.lost,
                "faults": faults,
            }
        )
        return 0
    for part, count in done.images.items():
        say(f"{part or 'all'}: {plural(count, 'image')}, {plural(done.objects[part], 'object')}")
    for what, count in done.lost.items():
        note(f"{args.to} cannot represent the {'crowd flag' if what == 'crowd' else what} of {plural(count, 'object')}")
    if text := summary(done.faults):
        note(text)
    say(f"{done.source} to {args.to}: {args.out}")
    return 0
