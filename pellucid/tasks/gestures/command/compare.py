"""`pellucid gestures compare`: train five variants of transfer learning on the same images, and compare them."""

import argparse
from pathlib import Path

from pellucid.command.args import Parser
from pellucid.command.out import print_lines, print_result, repeat_command
from pellucid.command.progress import CountProgress

BACKBONE = "cifar"


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "gestures compare",
        "Train one network in five ways, from scratch to fine-tuned, on the same images, and write a page that "
        "compares them. Finished trainings in DIR are not repeated.",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="settings that override all five recipes, such as train.epochs=5",
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME|FILE",
        default=BACKBONE,
        help="initial weights of the four variants that transfer: a pretrained model, a run folder or a weights file "
        "(default: cifar)",
    )
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip file, or the folder with the data sets (default: signs)",
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        default=1,
        help="number of trainings of each variant, with different seeds (default: 1)",
    )
    parser.add_argument("--out", metavar="DIR", help="the folder to write into (default: runs/compare-BACKBONE)")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Train and compare the variants, and print the table and the page's path."""
    from pellucid.recipe.recipe import parse_overrides
    from pellucid.tasks.comparison import PAGE_FILE
    from pellucid.tasks.gestures.compare import compare

    out = Path(args.out or Path("runs") / f"compare-{_backbone_name(Path(args.backbone))}")
    options = {
        "--backbone": None if args.backbone == BACKBONE else args.backbone,
        "--data": args.data,
        "--seeds": None if args.seeds == 1 else args.seeds,
        "--out": args.out,
    }
    reading_progress = CountProgress(not args.json)

    def report_line(line: str) -> None:
        reading_progress.end()
        if not args.json:
            print_lines(line)

    result = compare(
        backbone=args.backbone,
        data=args.data,
        seeds=args.seeds,
        out=out,
        overrides=parse_overrides(args.settings),
        command=repeat_command(["gestures", "compare"], options, args.settings),
        progress=not args.json,
        report_line=report_line,
        reading_progress=reading_progress,
    )
    page = str(out / PAGE_FILE)
    print_result(args, {"page": page, **result.to_json()}, "", *str(result).split("\n"), "", f"page  {page}")
    return 0


def _backbone_name(backbone: Path) -> str:
    """Return the run's name for a weights file RUN/weights/FILE, otherwise the name of the file or folder."""
    return backbone.parent.parent.name if backbone.parent.name == "weights" else backbone.stem
