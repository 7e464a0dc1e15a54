"""`pellucid compare`: train and compare several kinds of classifiers, or of detectors, on one data set."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.command.args import Parser

if TYPE_CHECKING:
    from pellucid.tasks.comparison import Comparison


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "compare",
        "Train several kinds of classifiers on one data set, or several kinds of detectors on annotated images, and "
        "compare them.",
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="a data set, or a folder or zip file of images by class or of annotated images",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="for annotated images: settings that override all recipes, such as train.epochs=2",
    )
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="NAME", help="compare only these models, such as nearest-l2 or rcnn"
    )
    parser.seed_option()
    parser.add_argument("--out", metavar="DIR", help="where comparison.json and the figures go (default: compare/NAME)")
    parser.add_argument(
        "--runs",
        metavar="DIR",
        default="runs",
        help="for annotated images: the folder of run folders; a finished run of the same recipe is used, and an "
        "unfinished one is resumed (default: runs)",
    )
    parser.add_argument(
        "--proposals",
        metavar="FILE|windows|selective_search",
        default="selective_search",
        help="region proposals of R-CNN: a JSON file {image: [[x0, y0, x1, y1], ...]}, sliding windows, or "
        "selective search, which needs pellucid[search] (default: selective_search)",
    )
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Run the comparison, print its table, and write it with a page."""
    from pellucid.command.files import check_folder
    from pellucid.command.out import print_lines, print_result, print_text, repeat_command
    from pellucid.recipe.material import is_annotated

    folder = check_folder(Path(args.out or f"compare/{Path(args.dataset).stem}"))  # before the long trainings
    comparison = _detectors(args) if is_annotated(args.dataset) else _classifiers(args)
    options = {
        "--seed": args.seed or None,
        "--data": args.data,
        "--proposals": args.proposals,
        "--runs": args.runs,
        "--out": args.out,
    }
    command_words = ["compare", args.dataset, *args.settings, *(["--only", *args.only] if args.only else [])]
    if not args.json:
        print_lines(*comparison.notes, "")
        print_text(str(comparison))
    paths = [str(path) for path in comparison.write(folder, repeat_command(command_words, options, []))]
    print_result(args, {**comparison.to_json(), "files": paths}, "", f"wrote {paths[0]} and {Path(paths[1]).name}")
    return 0


def _classifiers(args: argparse.Namespace) -> "Comparison":
    import warnings

    from pellucid.base.errors import PellucidError
    from pellucid.command.progress import CountProgress
    from pellucid.tasks.compare import compare

    if args.settings:
        raise PellucidError(
            f"{args.settings[0]}: settings are for annotated images, which {args.dataset} lacks; leave them out"
        )
    progress = CountProgress(not args.json)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparison = compare(args.dataset, args.data, args.seed, args.only, progress)
    progress.end()
    return comparison


def _detectors(args: argparse.Namespace) -> "Comparison":
    from pellucid.command.out import print_lines
    from pellucid.detectors.search import read_proposals
    from pellucid.recipe.recipe import parse_overrides
    from pellucid.tasks.detect.compare import compare_detectors

    proposal_methods = ("windows", "selective_search")
    proposals = args.proposals if args.proposals in proposal_methods else read_proposals(args.proposals)
    return compare_detectors(
        args.dataset,
        root=args.data,
        seed=args.seed,
        only=args.only,
        overrides=parse_overrides(args.settings),
        runs=args.runs,
        proposals=proposals,
        progress=lambda title, number, total: None if args.json else print_lines(f"{title} ({number} of {total})"),
        verbose=not args.json,
    )
