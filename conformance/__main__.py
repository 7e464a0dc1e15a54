"""`python -m conformance`: run outside test suites against every part of Pellucid and print a table of the results."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.parts import COVERAGE, PARTS, check_part_names
from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.cli.main import main
from pellucid.command.args import Parser
from pellucid.command.out import print_json, print_lines, print_text

if TYPE_CHECKING:
    from conformance.tally import Row

ABOUT = (
    "Run other people's test suites against our layers, losses, optimizers and metrics. Without PART all of them run "
    "and, unless a case fails, docs/scorecard.md and its tables are written. The parts: {}."
)


def parser() -> Parser:
    """Return the parser of this command."""
    part_descriptions = [f"{name} ({about})" for name, about in PARTS.items()]
    result = Parser(
        "scorecard", ABOUT.format(", ".join([*part_descriptions, f"{COVERAGE} (what none of them reaches)"]))
    )
    result.add_argument(
        "parts", nargs="*", metavar="PART", help="run only these parts and write nothing (default: all)"
    )
    result.add_argument("--check", action="store_true", help="write nothing, but compare what is written with this run")
    result.add_argument(
        "--every", type=int, default=1, metavar="N", help="only each N-th case of a suite; writes nothing"
    )
    return result.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Run the parts and print the table; return 1 if a case failed, a part is unchecked or --check found a difference.

    Raises PellucidError for options that do not fit together and for files that cannot be read or written.
    """
    from conformance import committed
    from conformance.card import run_parts
    from conformance.page import summary

    if args.every < 1:
        raise PellucidError(f"--every is {args.every}; give 1 for all cases, or more for a sample")
    is_complete_run, root = not args.parts and args.every == 1, Path()
    if args.check and not is_complete_run:
        raise PellucidError("--check compares a run of everything; leave PART and --every out")
    check_part_names(args.parts)
    if args.check:
        committed.manual_edits(root)  # raises PellucidError for a missing file now, not after the long run
    elif is_complete_run:
        committed.check_writable(root)
    card = run_parts(args.parts, args.every, lambda row: _report_row(row, args.json))
    problems = [
        f"{entry.kind} {entry.name} ({entry.file}): no suite reaches it, and no check is named"
        for entry in card.unchecked_entries
    ]
    if args.check:
        problems += committed.differences(card.rows, card.entries, root)
    problems += [f"{row.suite}: {row.failed} of {row.cases} cases failed" for row in card.rows if row.failed]
    written = committed.write(card.rows, card.entries, root) if is_complete_run and not (args.check or problems) else []
    for line in problems:
        note(line)
    if args.json:
        print_json(
            {"rows": [row.to_json() for row in card.rows], "coverage": [entry.to_json() for entry in card.entries]}
        )
    else:
        for entry in card.entries:
            print_lines(
                f"no outside suite reaches {entry.kind} {entry.name}; checked by {entry.checked_by or 'nothing'}"
            )
        print_text(summary(card.rows) if card.rows else "no cases in these parts")
        for path in written:
            print_lines(f"wrote {path}")
    return 1 if problems else 0


def _report_row(row: "Row", as_json: bool) -> None:
    from conformance.tally import decade

    for failure in row.failures:
        note(f"{row.suite}: {failure}")
    if not as_json:
        counts = f"{row.cases} cases, {row.passed} passed, {row.skipped} skipped, {row.failed} failed"
        print_lines(f"{row.suite}: {counts}, worst error below {decade(row.worst_error)}")


if __name__ == "__main__":
    sys.exit(main(["scorecard", *sys.argv[1:]]))
