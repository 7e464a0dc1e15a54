"""Ask the doctor about 12 listed mistakes, on an idle and on a busy machine, with one and with two threads.

Run it by `python -m benchmarks.causes.under_load`. Its exit status is 1 if a diagnosis depends on the load or on the
number of threads. The diagnoses are kept as those of `benchmarks.causes.diagnose`, in one folder for each condition.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.causes.diagnose import DIAGNOSES_FOLDER
from benchmarks.causes.harm import Record
from benchmarks.estimators import busy_processes

MISTAKES = (
    "cls-batch-of-one", "cls-class-order-differs", "cls-dropout-kept-for-dropped", "cls-flip-left-right",
    "cls-schedule-per-batch", "col-training-bgr", "det-centre-as-corner", "det-labels-off-by-one", "gen-other-range",
    "kpt-order-differs", "reg-target-not-scaled", "trl-direction",
)  # fmt: skip
BUSY_PROCESSES = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes.under_load", description=__doc__)
    parser.add_argument("--out", type=Path, default=DIAGNOSES_FOLDER / "under_load", help="the folder of results")
    args = parser.parse_args()
    folders: dict[str, Path] = {}
    for load in ("idle", "busy"):
        with busy_processes(BUSY_PROCESSES if load == "busy" else 0):
            for threads in ("1", "2"):
                folders[f"{load}, threads: {threads}"] = folder = args.out / f"{load}-{threads}"
                diagnose = (sys.executable, "-m", "benchmarks.causes.diagnose", "--unopened", "--out", str(folder))
                environment = {**os.environ, "OMP_NUM_THREADS": threads}
                subprocess.run([*diagnose, "--only", *MISTAKES], env=environment, check=True)
    differing = [id for id in MISTAKES if not says_the_same(id, folders)]
    print(f"the same in all conditions: {len(MISTAKES) - len(differing)} of {len(MISTAKES)}")
    return int(bool(differing))


def says_the_same(id: str, folders: Mapping[str, Path]) -> bool:
    """Return whether the first finding of a mistake is the same in all folders; print those that differ."""
    said = {condition: first_finding(folder / f"{id}-0.json") for condition, folder in folders.items()}
    if len({*said.values()}) == 1:
        return True
    for condition, finding in said.items():
        print(f"{id}, {condition}: {finding}")
    return False


def first_finding(path: Path) -> str:
    """Return the kind and the text of the first finding of a diagnosis."""
    record: Record = json.loads(path.read_text("utf-8"))
    return f"{record['verdict']}: {record['first']}"


if __name__ == "__main__":
    sys.exit(main())
