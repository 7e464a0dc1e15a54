"""Measure what the listed mistakes cost: `python -m benchmarks.causes`.

Each seed of a case is kept as soon as it is known; the same command goes on where an interrupted one was.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

from benchmarks.causes.cases import cases, later_cases
from benchmarks.causes.fit import Case
from benchmarks.causes.harm import SEEDS, HarmFile, code_hash, harm_summary, measure_case
from benchmarks.causes.listed import HERE, LATER_LISTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="ID", help="these mistakes, or those that begin so")
    parser.add_argument("--unopened", action="store_true", help="also the unopened half")
    parser.add_argument("--list", choices=LATER_LISTS, help="a later list instead")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further training after these")
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE / "harm.json.gz",
        help="the file of results (benchmarks/causes/harm.json.gz); for parallel processes, one file each",
    )
    args = parser.parse_args()
    chosen = later_cases(args.list) if args.list else cases(with_unopened=args.unopened)
    return run(args.only, chosen, args.seconds, HarmFile(args.out))


def run(only: list[str], chosen: Mapping[str, Case], seconds: float, results: HarmFile) -> int:
    """Measure the chosen cases, and print what each costs."""
    start_time = time.monotonic()
    for id, case in chosen.items():
        if only and not id.startswith(tuple(only)):
            continue
        record = {"seeds": {}, **results.read(id, code_hash(case))}
        for seed in SEEDS:
            if str(seed) not in record["seeds"] and time.monotonic() - start_time < seconds:
                record["seeds"][str(seed)] = measure_case(case, seed)
                results.write(record | harm_summary(record))
        summary = harm_summary(record)
        print(
            f"{id:40} {summary['harm']} ± {summary['deviation']} {'' if summary['harmful'] else 'NOT HARMFUL'}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
