"""`pellucid data lint`: list the faults of annotated images."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.progress import Reading


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "data lint",
        "List the faults of annotated images by file and line: files and images that cannot be read, boxes without "
        "area or outside their image, unknown classes, objects and images annotated twice, images without objects, and "
        "images with a near duplicate in another part. The exit code is 2 if training would refuse a file.",
    )
    parser.add_argument("source", metavar="NAME|FOLDER", help="a data set, or a folder or .zip of annotated images")
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print a line for each fault, and the counts."""
    from collections import Counter

    from pellucid.cli.out import emit, say
    from pellucid.data.annotations.lint import lint
    from pellucid.data.catalogue import annotated_path
    from pellucid.text import plural

    reading = Reading(not args.json)
    found = lint(annotated_path(args.source, args.data), lambda done, total: reading("image", done, total))
    reading.end()
    counts = Counter(fault.effect for fault in found.faults)
    if args.json:
        parts = {name: {"images": p.images, "objects": p.objects, "empty": p.empty} for name, p in found.parts.items()}
        rows = [
            {"file": fault.file, "line": fault.line, "reason": fault.reason, "effect": fault.effect}
            for fault in found.faults
        ]
        emit({"format": found.form, "parts": parts, "counts": counts, "faults": rows})
        return 2 if counts["refused"] else 0
    for fault in found.faults:
        say(f"{fault} [{fault.effect}]")
    for name, part in found.parts.items():
        empty = f", {part.empty:,} without objects" if part.empty else ""
        say(f"{name or 'all'}: {plural(part.images, 'image')}{empty}, {plural(part.objects, 'object')}")
    effects = ", ".join(f"{count:,} {effect}" for effect, count in sorted(counts.items()))
    say(f"{found.form}: {plural(len(found.faults), 'fault')}{f': {effects}' if effects else ''}")
    return 2 if counts["refused"] else 0
