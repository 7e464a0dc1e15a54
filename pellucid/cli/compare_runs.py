"""`pellucid compare-runs`: compare two or more runs on one page."""

import argparse
from pathlib import Path

from pellucid.base.files import write_atomically
from pellucid.base.text import table
from pellucid.command.args import Parser
from pellucid.command.files import check_output_path
from pellucid.command.out import print_result, repeat_command

DEFAULT_PAGE = "comparison.html"


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "compare-runs",
        "Compare run folders on one page: results, curves, F1 of each class, and the keys in which recipes and "
        "manifests differ.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="two or more run folders")
    parser.add_argument(
        "--out", metavar="FILE", default=DEFAULT_PAGE, help=f"the page to write (default: {DEFAULT_PAGE})"
    )
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the page, and print the results and differences."""
    from pellucid.recipe.compare import compare_runs, comparison_page

    path = check_output_path(args.out, "--out")
    comparison = compare_runs(args.runs)
    command = repeat_command(
        ["compare-runs", *args.runs], {"--out": None if args.out == DEFAULT_PAGE else args.out}, []
    )
    write_atomically(path, comparison_page(comparison, command).html().encode("utf-8"))
    lines = table([("", *comparison.names), *comparison.result_rows], right=range(1, len(comparison.names) + 1))
    lines += ["", *comparison.stop_sentences] if comparison.stop_sentences else []
    for title, rows in (
        ("recipes differ in", comparison.recipe_differences),
        ("manifests differ in", comparison.manifest_differences),
    ):
        if rows:
            lines += ["", title, *table(rows)]
    print_result(args, {"page": args.out, **comparison.to_json()}, *lines, "", f"page  {Path(args.out)}")
    return 0
