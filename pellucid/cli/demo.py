"""`pellucid demo`: train on the bundled digits, and write a page that demonstrates the library."""

import argparse

from pellucid.command.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "demo",
        "Train the recipe `digits`, explain an answer and a derivative, find objects and colour a photo with shipped "
        "models, and write one page with all of it. Nothing is downloaded.",
    )
    parser.add_argument("--out", metavar="DIR", default="runs", help="folder for run folders (default: runs)")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print a line for each finished part, the paths of the report and of the page, and the next command."""
    from pellucid.base.files import write_atomically
    from pellucid.command.out import print_json, print_lines, program_command
    from pellucid.command.results import run_values
    from pellucid.command.tour import demo_parts
    from pellucid.recipe.job import train
    from pellucid.report.sections import Page

    run, sections = train("digits", out=args.out), []
    for part in demo_parts(run):
        sections.append(part.section)
        if not args.json:
            print_lines(part.line)
    path = run.path / "demo.html"
    page = Page("What Pellucid is for", sections, "Written by `pellucid demo`; below each part is the command for it.")
    write_atomically(path, page.html().encode())
    if args.json:
        print_json({**run_values(run), "page": str(path)})
    else:
        print_lines(f"  report  {run.report}", f"  page    {path}")
        print_lines(f"Open the page in a browser. Next: {program_command()} evaluate {run.path}")
    return 0
