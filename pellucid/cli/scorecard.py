"""`pellucid scorecard`: outside test suites run against every part of ours, as a table."""

import argparse
import sys
from pathlib import Path

from pellucid.cli.args import Parser

ABOUT = (
    "Run other people's test suites against our layers, losses, optimizers and metrics. "
    "Without PART all of them run, and docs/scorecard.md and the README's line are written."
)


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("scorecard", ABOUT)
    it.add_argument("parts", nargs="*", metavar="PART", help="run only these parts and write nothing (default: all)")
    it.add_argument("--check", action="store_true", help="write nothing, but compare what is written with this run")
    it.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th case of a suite; writes nothing")
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table; the exit code is 1 where a case failed, a part is unchecked or the page is not of this run."""
    from pellucid.cli.out import emit
    from pellucid.errors import PellucidError
    from pellucid.scorecard import page
    from pellucid.scorecard.card import score
    from pellucid.scorecard.parts import check_names
    from pellucid.scorecard.tally import decade

    if args.every < 1:
        raise PellucidError(f"--every is {args.every}; give 1 for all cases, or more for a sample")
    whole = not args.parts and args.every == 1
    if args.check and not whole:
        raise PellucidError("--check compares a run of everything; leave PART and --every out")
    check_names(args.parts)
    if not args.json:
        print(f"{'suite':<64}{'cases':>7}{'passed':>8}{'skipped':>9}{'failed':>8}  worst error")

    def tell(row: page.Row) -> None:
        for failure in row.failures:
            print(f"{row.suite}: {failure}", file=sys.stderr)
        if not args.json:
            counts = f"{row.cases:>7}{row.passed:>8}{row.skipped:>9}{row.failed:>8}"
            print(f"{row.suite:<64}{counts}  {decade(row.worst_error)}", flush=True)

    card = score(args.parts, args.every, tell)
    wrong = [f"{one.name}: {one.checked_by}" for one in card.holes]
    if args.check:
        wrong += page.differences(card.rows, card.entries, Path())
    written = page.write(card.rows, card.entries, Path()) if whole and not args.check else []
    for line in wrong:
        print(line, file=sys.stderr)
    if args.json:
        emit({"rows": [row.to_json() for row in card.rows], "coverage": [one.to_json() for one in card.entries]})
    else:
        for one in card.entries:
            print(f"no outside suite reaches {one.kind} {one.name}; checked by {one.checked_by or 'nothing'}")
        print(page.summary(card.rows) if card.rows else f"{len(card.holes)} holes")
        for path in written:
            print(f"wrote {path}")
    return 1 if wrong or any(row.failed for row in card.rows) else 0
