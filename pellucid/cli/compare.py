"""`pellucid compare`: classifiers of several kinds on one data set."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("compare", "Train classifiers of several kinds on one data set, and compare them.")
    it.add_argument("dataset", metavar="DATASET", help="a data set, or a folder or zip of images by class")
    it.add_argument("--only", nargs="+", default=(), metavar="NAME", help="only these classifiers, such as nearest-l2")
    it.seed_option()
    it.add_argument("--out", metavar="DIR", help="where comparison.json and comparison.png go (default: compare/NAME)")
    return it.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Compare, print the table, and write it and the plot."""
    import json
    import warnings
    from pathlib import Path

    from pellucid.cli.out import emit, plain, say, say_text
    from pellucid.cli.progress import Reading
    from pellucid.files import make_folder, write_atomically
    from pellucid.report.figures.classifiers import classifiers
    from pellucid.report.figures.style import png
    from pellucid.tasks.compare import compare

    watch = Reading(not args.json)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare(args.dataset, args.data, args.seed, args.only, watch)
    watch.end()
    rows = found.rows
    drawn = classifiers(
        [row.title for row in rows],
        [row.accuracy for row in rows],
        [row.fit_seconds for row in rows],
        [row.predict_seconds for row in rows],
    )
    if not args.json:
        say(f"{found.data}: {found.train:,} training and {found.test:,} test images.", *found.notes(), "")
        say_text(str(found))
    folder = make_folder(Path(args.out or f"compare/{Path(args.dataset).stem}"))  # not for a comparison that failed
    files = {"comparison.json": json.dumps(plain(found.to_json()), indent=1).encode(), "comparison.png": png(drawn)}
    for name, content in files.items():
        write_atomically(folder / name, content, durable=False)
    if args.json:
        emit({**found.to_json(), "files": [str(folder / name) for name in files]})
        return 0
    say("", f"wrote {folder / 'comparison.png'} and comparison.json")
    return 0
