"""`pellucid compare`: train and compare several kinds of classifiers, or of detectors, on one data set."""

import argparse
from pathlib import Path

from pellucid.command.args import Parser


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
    """Compare, print the table, and write it and the plot."""
    from pellucid.command.out import emit, plain, say, say_text
    from pellucid.errors import PellucidError
    from pellucid.recipe.material import is_annotated

    if is_annotated(args.dataset):
        return _detectors(args)
    if args.settings:
        raise PellucidError(
            f"{args.settings[0]}: settings are for annotated images, which {args.dataset} lacks; leave them out"
        )
    import json
    import warnings

    from pellucid.command.progress import FilesRead
    from pellucid.files import make_folder, write_atomically
    from pellucid.report.figures.classifiers import classifiers
    from pellucid.report.figures.style import png
    from pellucid.tasks.compare import compare

    folder = _folder(args)
    progress = FilesRead(not args.json)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare(args.dataset, args.data, args.seed, args.only, progress)
    progress.end()
    rows = found.rows
    figure = classifiers(
        [row.title for row in rows],
        [row.accuracy for row in rows],
        [row.fit_seconds for row in rows],
        [row.predict_seconds for row in rows],
    )
    if not args.json:
        say(f"{found.data}: {found.train:,} training and {found.test:,} test images.", *found.notes(), "")
        say_text(str(found))
    make_folder(folder)  # only now, so that a failed comparison leaves no folder
    files = {"comparison.json": json.dumps(plain(found.to_json()), indent=1).encode(), "comparison.png": png(figure)}
    for name, content in files.items():
        write_atomically(folder / name, content, durable=False)
    if args.json:
        emit({**found.to_json(), "files": [str(folder / name) for name in files]})
        return 0
    say("", f"wrote {folder / 'comparison.png'} and comparison.json")
    return 0


def _detectors(args: argparse.Namespace) -> int:
    """Train and compare detectors, print the table, and write a page and a JSON file."""
    import json

    from pellucid.command.out import again, emit, plain, say, say_text
    from pellucid.detectors.search import read_proposals
    from pellucid.files import make_folder, write_atomically
    from pellucid.recipe.recipe import parse_overrides
    from pellucid.report.write import write_page
    from pellucid.tasks.detect.compare import compare_detectors, comparison_page

    folder, searches = _folder(args), ("windows", "selective_search")
    proposals = args.proposals if args.proposals in searches else read_proposals(args.proposals)
    found = compare_detectors(
        args.dataset, args.data, args.seed, args.only, parse_overrides(args.settings), args.runs, proposals,
        lambda what, done, total: None if args.json else say(f"{what} ({done} of {total})"), not args.json,
    )  # fmt: skip
    make_folder(folder)
    options = {
        "--seed": args.seed or None,
        "--data": args.data,
        "--proposals": args.proposals,
        "--runs": args.runs,
        "--out": args.out,
    }
    words = ["compare", args.dataset, *args.settings, *(["--only", *args.only] if args.only else [])]
    html, figures = comparison_page(found, again(words, options, []))
    write_page(folder / "comparison.html", html, figures)
    write_atomically(folder / "comparison.json", json.dumps(plain(found.to_json()), indent=1).encode(), durable=False)
    files = [str(folder / name) for name in ("comparison.html", "comparison.json")]
    if args.json:
        emit({**found.to_json(), "files": files})
        return 0
    say("", *found.notes(), "")
    say_text(str(found))
    say("", f"wrote {files[0]} and comparison.json")
    return 0


def _folder(args: argparse.Namespace) -> Path:
    """Return the output folder, checked before any work."""
    from pellucid.command.files import check_folder

    return check_folder(Path(args.out or f"compare/{Path(args.dataset).stem}"))
