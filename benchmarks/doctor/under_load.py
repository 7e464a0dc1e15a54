"""Ask the doctor about 12 unusual mistakes, on an idle and on a busy machine, with one and with two threads.

Run it by `python -m benchmarks.doctor.under_load`. Its exit status is 1 if the first sentences depend on the load or on
the number of threads. The records are kept as those of `benchmarks.doctor`, in one folder for each condition.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.estimators import busy_processes

MISTAKES = (
    "cls-batch-of-one", "cls-class-order-differs", "cls-dropout-kept-for-dropped", "cls-flip-left-right",
    "cls-schedule-per-batch", "col-training-bgr", "det-centre-as-corner", "det-labels-off-by-one", "gen-other-range",
    "kpt-order-differs", "reg-target-not-scaled", "trl-direction",
)  # fmt: skip
BUSY_PROCESSES = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doctor.under_load", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/doctor_under_load"), help="the folder of results")
    args = parser.parse_args()
    said: dict[str, dict[str, str]] = {}
    for load in ("idle", "busy"):
        with busy_processes(BUSY_PROCESSES if load == "busy" else 0):
            for threads in ("1", "2"):
                folder = args.out / f"{load}-{threads}"
                command = (sys.executable, "-m", "benchmarks.doctor", "first", "unopened", "--out", str(folder))
                environment = {**os.environ, "OMP_NUM_THREADS": threads}
                subprocess.run([*command, "--names", *MISTAKES], env=environment, check=True)
                for path in folder.glob("*/*.json"):
                    record = json.loads(path.read_text("utf-8"))
                    said.setdefault(record["name"], {})[folder.name] = record["words"]
    differing = {name: words for name, words in said.items() if len({*words.values()}) > 1}
    print(json.dumps(differing, indent=1))
    print(f"the same in all conditions: {len(said) - len(differing)} of {len(said)}")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
