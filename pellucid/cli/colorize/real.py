"""`pellucid colorize real`: ask people which of two images is real."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

PAGE = "real.html"


def parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "colorize real", "Write a page that asks people which of two images is real, and counts the answers."
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="a data set, or a folder or zip of colour images (default: the model's data set)",
    )
    parser.add_argument(
        "--n", metavar="N", type=int, help="number of questions (default: 40, or all images if there are fewer)"
    )
    parser.add_argument("--out", metavar="FILE", default=PAGE, help=f"the page to write (default: {PAGE})")
    return parser.seed_option("seed of the choice of images, their order and sides").device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the page."""
    from pellucid.cli.files import check_place
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, say
    from pellucid.files import write_atomically
    from pellucid.tasks.colorize.real import questions, real_page
    from pellucid.text import plural

    place = check_place(args.out, "--out", (".html",))
    asked = questions(open_model(args.model, args.device), args.data, args.n, args.seed)
    write_atomically(place, real_page(asked, "Which one is real?").encode())
    if args.json:
        emit({"page": args.out, "n": len(asked), "real": ["right" if one.real else "left" for one in asked]})
    else:
        say(f"wrote {place} with {plural(len(asked), 'question')}")
    return 0
