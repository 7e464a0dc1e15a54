"""Break every backward pass on purpose and report which checks detect it: `python -m benchmarks.mutants`."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: one process runs on each core

from benchmarks.mutants import equivalents, report, trials
from benchmarks.mutants.mutant import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="TEXT", help="mutants whose name contains one of these"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th mutant")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time (default: the cores)"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree whose package `pellucid` is broken")
    parser.add_argument(
        "--docs", type=Path, metavar="DIR",
        help="where the report goes (default: docs, for a full run of this tree); with --only, the other mutants are "
        "taken from the report there",
    )  # fmt: skip
    args = parser.parse_args()
    known_equivalents = equivalents.load()
    start_time = time.monotonic()
    all_mutants = list(mutants(args.root / "pellucid"))
    selected = [one for one in all_mutants if not args.only or any(text in one.name for text in args.only)][
        :: args.every
    ]
    full = len(selected) == len(all_mutants) and args.root == ROOT
    not_selected = [one for one in all_mutants if one not in selected] if args.only and args.docs else []
    finished = report.earlier_trials(args.docs, not_selected) if not_selected else []
    finished += try_mutants(args.root, selected, args.jobs)
    outcomes = report.outcomes(finished, lambda mutant: equivalents.reason(mutant, known_equivalents))
    if docs := args.docs or (ROOT / "docs" if full else None):
        report.write(outcomes, docs, args.every)
    print(report.summary(outcomes))
    print(report.mutant_list([one for one in outcomes if one.survived]))
    unused_entries = (
        equivalents.unused_entries(known_equivalents, (one.trial.mutant for one in outcomes if one.why))
        if full or not_selected
        else []
    )
    for entry in unused_entries:
        print(f"equivalents.toml: nothing survives that this explains: {entry.file}: {entry.before}")
    print(f"{time.monotonic() - start_time:.0f} s")
    return 1 if unused_entries or any(one.survived for one in outcomes) else 0


def try_mutants(root: Path, selected: list[Mutant], jobs: int) -> list[trials.Trial]:
    """Return the trials of the selected mutants, and print the progress on stderr."""
    trials.warm_up(root)
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, f"copy{number}") for number in range(jobs)]
        failing = trials.prepare(root, folders)
        for case in sorted(failing):
            print(f"fails without a mutant, so that it cannot tell: {case}", file=sys.stderr)
        finished = []
        for trial in trials.run(selected, folders, failing):
            finished.append(trial)
            print(
                f"{len(finished)} of {len(selected)}: {trial.mutant.name}", end="\033[K\r", file=sys.stderr, flush=True
            )
        print(end="\033[K", file=sys.stderr)
        return finished


if __name__ == "__main__":
    try:
        sys.exit(main())
    except trials.Unfit as unfit:
        sys.exit(str(unfit))
