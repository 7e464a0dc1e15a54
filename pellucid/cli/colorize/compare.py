"""`pellucid colorize compare`: evaluate several colorizers on the same images."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

PAGE = "colours.html"


def parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "colorize compare", "Evaluate several colorizers on the same images, with grey images as the baseline."
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="a data set, or a folder or zip of colour images (default: the first model's data set)",
    )
    parser.add_argument("--out", metavar="FILE", default=PAGE, help=f"the page to write (default: {PAGE})")
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the page, and print its table."""
    from pellucid.cli.files import check_place
    from pellucid.cli.models import open_model
    from pellucid.cli.out import again, emit, say, say_text
    from pellucid.files import write_atomically
    from pellucid.tasks.colorize.compare import comparison_page, named, table
    from pellucid.tasks.colorize.measure import measure
    from pellucid.text import aligned, note

    place = check_place(args.out, "--out", (".html",))
    models = named(args.models, [open_model(model, args.device) for model in args.models])
    found = measure(models, args.data)
    for message in found.skipped.values():
        note(message)
    options = {"--data": args.data, "--out": None if args.out == PAGE else args.out}
    command = again(["colorize", "compare", *args.models], options, [])
    write_atomically(place, comparison_page(found, models, f"Colours on {found.data}", command).encode())
    if args.json:
        about = {"n": found.n, "n_judged": found.judged, "data": found.data, "skipped": found.skipped}
        emit({"page": args.out, "rows": found.rows, "true": found.true, **about})
        return 0
    rows = table(found)
    say(f"{found.n:,} images of {found.data}; answers and frechet are over {found.judged:,} of them")
    say_text(aligned(rows, right=range(1, len(rows[0]))))
    say("", f"page  {place}")
    return 0
