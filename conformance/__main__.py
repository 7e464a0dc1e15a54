"""`python -m conformance`: outside test suites run against every part of Pellucid, as a table."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.parts import COVERAGE, PARTS, check_names
from pellucid.cli.main import main
from pellucid.command.args import Parser
from pellucid.command.out import emit, say, say_text
from pellucid.errors import PellucidError
from pellucid.text import note

if TYPE_CHECKING:
    from conformance.tally import Row

ABOUT = (
    "Run other people's test suites against our layers, losses, optimizers and metrics. Without PART all of them run "
    "and, unless a case fails, docs/scorecard.md and the README's line are written. The parts: {}."
)


def parser() -> Parser:
    """Return the parser of this command."""
    told = [f"{name} ({about})" for name, about in PARTS.items()]
    it = Parser("scorecard", ABOUT.format(", ".join([*told, f"{COVERAGE} (what none of them reaches)"])))
    it.add_argument("parts", nargs="*", metavar="PART", help="run only these parts and write nothing (default: all)")
    it.add_argument("--check", action="store_true", help="write nothing, but compare what is written with this run")
    it.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th case of a suite; writes nothing")
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table; the exit code is 1 where a case failed, a part is unchecked or the page is not of this run."""
    from conformance import committed
    from conformance.card import score
    from conformance.page import summary

    if args.every < 1:
        raise PellucidError(f"--every is {args.every}; give 1 for all cases, or more for a sample")
    whole, root = not args.parts and args.every == 1, Path()
    if args.check and not whole:
        raise PellucidError("--check compares a run of everything; leave PART and --every out")
    check_names(args.parts)
    if args.check:
        committed.edits(root)  # what is not there is said before the run
    elif whole:
        committed.check_place(root)
    card = score(args.parts, args.every, lambda row: _tell(row, args.json))
    wrong = [f"{one.kind} {one.name} ({one.file}): no suite reaches it, and no check is named" for one in card.holes]
    if args.check:
        wrong += committed.differences(card.rows, card.entries, root)
    wrong += [f"{row.suite}: {row.failed} of {row.cases} cases failed" for row in card.rows if row.failed]
    written = committed.write(card.rows, card.entries, root) if whole and not (args.check or wrong) else []
    for line in wrong:
        note(line)
    if args.json:
        emit({"rows": [row.to_json() for row in card.rows], "coverage": [one.to_json() for one in card.entries]})
    else:
        for one in card.entries:
            say(f"no outside suite reaches {one.kind} {one.name}; checked by {one.checked_by or 'nothing'}")
        say_text(summary(card.rows) if card.rows else "no cases in these parts")
        for path in written:
            say(f"wrote {path}")
    return 1 if wrong else 0


def _tell(row: "Row", as_json: bool) -> None:
    from conformance.tally import decade

    for failure in row.failures:
        note(f"{row.suite}: {failure}")
    if not as_json:
        counts = f"{row.cases} cases, {row.passed} passed, {row.skipped} skipped, {row.failed} failed"
        say(f"{row.suite}: {counts}, worst error below {decade(row.worst_error)}")


if __name__ == "__main__":
    sys.exit(main(["scorecard", *sys.argv[1:]]))
