"""`pellucid gestures compare`: train in five ways on the same pictures, and show how they compare."""

import argparse
from pathlib import Path

from pellucid.cli.args import Parser
from pellucid.cli.progress import Reading

BACKBONE = "cifar"


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser(
        "gestures compare",
        "Train one network in five ways, from scratch to fine-tuned, on the same pictures, and write a page that "
        "compares them. What is finished below DIR is not trained again.",
    )
    it.add_argument("settings", nargs="*", metavar="key=value", help="changes to all five recipes, as train.epochs=5")
    it.add_argument(
        "--backbone",
        metavar="NAME|FILE",
        default=BACKBONE,
        help="what four of them start from: a pretrained model, a run folder or a weights file (default: cifar)",
    )
    it.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip, or the folder that holds the data sets (default: signs)",
    )
    it.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        default=1,
        help="number of trainings of each, with different seeds (default: 1)",
    )
    it.add_argument("--out", metavar="DIR", help="the folder to write into (default: runs/compare-BACKBONE)")
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Train, and print the table and the page's path."""
    from pellucid.cli.out import again, emit, say, say_text
    from pellucid.recipe.recipe import parse_overrides
    from pellucid.tasks.gestures.compare import compare
    from pellucid.tasks.gestures.report import PAGE, table_text, to_json

    out = Path(args.out or Path("runs") / f"compare-{_named(Path(args.backbone))}")
    options = {
        "--backbone": None if args.backbone == BACKBONE else args.backbone,
        "--data": args.data,
        "--seeds": None if args.seeds == 1 else args.seeds,
        "--out": args.out,
    }
    reading = Reading(not args.json)

    def report(line: str) -> None:
        reading.end()
        if not args.json:
            say(line)

    result = compare(
        backbone=args.backbone,
        data=args.data,
        seeds=args.seeds,
        out=out,
        overrides=parse_overrides(args.settings),
        command=again(["gestures", "compare"], options, args.settings),
        progress=not args.json,
        tell=report,
        reading=reading,
    )
    if args.json:
        emit({"page": str(out / PAGE), **to_json(result)})
        return 0
    say("")
    say_text(table_text(result))
    say("", f"page  {out / PAGE}")
    return 0


def _named(backbone: Path) -> str:
    """Return a name for a backbone: of a run folder's weights, whose file names are all the same, the run's."""
    return backbone.parent.parent.name if backbone.parent.name == "weights" else backbone.stem
