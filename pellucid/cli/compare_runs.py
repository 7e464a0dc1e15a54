"""`pellucid compare-runs`: two or more runs on one page."""

import argparse
from pathlib import Path

from pellucid.cli.args import Parser

PAGE = "comparison.html"


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "compare-runs",
        "Compare run folders on one page: results, curves, F1 of each class, and the keys in which recipes and "
        "manifests differ.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="two or more run folders")
    parser.add_argument("--out", metavar="FILE", default=PAGE, help=f"the page to write (default: {PAGE})")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the page, and print the results and differences."""
    from pellucid.cli.files import check_place
    from pellucid.cli.out import again, emit, say, say_text
    from pellucid.files import write_atomically
    from pellucid.recipe.compare import compare_runs, comparison_page
    from pellucid.text import aligned

    place = check_place(args.out, "--out")
    found = compare_runs(args.runs)
    command = again(["compare-runs", *args.runs], {"--out": None if args.out == PAGE else args.out}, [])
    write_atomically(place, comparison_page(found, command).encode("utf-8"))
    if args.json:
        emit({"page": args.out, **found.to_json()})
        return 0
    columns = range(1, len(found.names) + 1)
    say_text(aligned([("", *found.names), *found.results], right=columns))
    for title, rows in (("recipes differ in", found.recipes), ("manifests differ in", found.manifests)):
        if rows:
            say("", title)
            say_text(aligned(rows))
    say("", f"page  {Path(args.out)}")
    return 0
