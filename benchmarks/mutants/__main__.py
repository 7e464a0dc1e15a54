"""Break every backward pass on purpose and report who notices: `python -m benchmarks.mutants`."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: there is a process for each core

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
    known = equivalents.load()
    begun = time.monotonic()
    whole = list(mutants(args.root / "pellucid"))
    chosen = [one for one in whole if not args.only or any(text in one.name for text in args.only)][:: args.every]
    full = len(chosen) == len(whole) and args.root == ROOT
    others = [one for one in whole if one not in chosen] if args.only and args.docs else []
    done = report.earlier(args.docs, others) if others else []
    done += attempts(args.root, chosen, args.jobs)
    found = report.outcomes(done, lambda mutant: equivalents.reason(mutant, known))
    if docs := args.docs or (ROOT / "docs" if full else None):
        report.write(found, docs, args.every)
    print(report.summary(found))
    print(report.listed([one for one in found if one.survived]))
    idle = equivalents.idle(known, (one.trial.mutant for one in found if one.why)) if full or others else []
    for entry in idle:
        print(f"equivalents.toml: nothing survives that this explains: {entry.file}: {entry.before}")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if idle or any(one.survived for one in found) else 0


def attempts(root: Path, chosen: list[Mutant], jobs: int) -> list[trials.Trial]:
    """Try the chosen mutants, and tell how far it has come."""
    trials.warm_up(root)
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place, f"copy{number}") for number in range(jobs)]
        failing = trials.prepare(root, folders)
        for case in sorted(failing):
            print(f"fails without a mutant, so that it cannot tell: {case}", file=sys.stderr)
        done = []
        for trial in trials.run(chosen, folders, failing):
            done.append(trial)
            print(f"{len(done)} of {len(chosen)}: {trial.mutant.name}", end="\033[K\r", file=sys.stderr, flush=True)
        print(end="\033[K", file=sys.stderr)
        return done


if __name__ == "__main__":
    try:
        sys.exit(main())
    except trials.Unfit as unfit:
        sys.exit(str(unfit))
