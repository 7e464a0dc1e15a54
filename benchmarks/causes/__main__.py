"""Measure what the listed mistakes cost: `python -m benchmarks.causes`.

Each seed of a case is kept in the case's file as soon as it is known; the same command goes on where an interrupted
one was.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

from benchmarks.causes.cases import cases
from benchmarks.causes.harm import SEEDS, Results, code_of, measured, verdict
from benchmarks.causes.listed import HERE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="ID", help="these mistakes, or those that begin so")
    parser.add_argument("--unopened", action="store_true", help="also the unopened half")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further training after these")
    parser.add_argument(
        "--out", type=Path, default=HERE / "harm", help="the folder of results (benchmarks/causes/harm)"
    )
    args = parser.parse_args()
    return run(args.only, args.unopened, args.seconds, Results(args.out))


def run(only: list[str], closed: bool, seconds: float, results: Results) -> int:
    """Measure the chosen cases, and print what each costs."""
    begun = time.monotonic()
    for id, case in cases(closed=closed).items():
        if only and not id.startswith(tuple(only)):
            continue
        record = {"seeds": {}, **results.read(id, code_of(case))}
        for seed in SEEDS:
            if str(seed) not in record["seeds"] and time.monotonic() - begun < seconds:
                record["seeds"][str(seed)] = measured(case, seed)
                results.write(record | verdict(record))
        judged = verdict(record)
        print(
            f"{id:40} {judged['harm']} ± {judged['deviation']} {'' if judged['harmful'] else 'NOT HARMFUL'}", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
