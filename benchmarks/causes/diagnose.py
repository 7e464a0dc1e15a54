"""Ask the doctor about the listed mistakes or the healthy trainings: `python -m benchmarks.causes.diagnose`.

What it says is kept in one file for each training; the same command goes on where an interrupted one was, and begins
anew with another doctor. Whether a named cause is the listed one is left to a reader: both stand in the file.
"""

import argparse
import hashlib
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

import pellucid
from benchmarks.causes import healthy, paired
from benchmarks.causes.cases import cases, later_cases
from benchmarks.causes.fit import Fit
from benchmarks.causes.harm import Record, Results, code_hash
from benchmarks.causes.listed import HERE, LATER_LISTS, all_mistakes
from benchmarks.causes.paired import PAIRS, both_mistakes
from pellucid.base.errors import PellucidError
from pellucid.doctor import Diagnosis

DIAGNOSES_FOLDER = HERE / "diagnoses"  # of results
PACKAGE = Path(pellucid.__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes.diagnose", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="ID", help="these, or those that begin so")
    parser.add_argument("--healthy", action="store_true", help="the healthy trainings instead of the mistakes")
    parser.add_argument("--pairs", action="store_true", help="two mistakes in each training")
    parser.add_argument("--unopened", action="store_true", help="also the unopened half of the mistakes")
    parser.add_argument("--list", choices=LATER_LISTS, help="the mistakes of a later list")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the training (0)")
    parser.add_argument("--budget", type=float, help="of the doctor, in trainings (its default)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further training after these")
    parser.add_argument("--out", type=Path, default=DIAGNOSES_FOLDER, help="the folder of results")
    args = parser.parse_args()
    start_time, verdict_counts, results = time.monotonic(), Counter[str](), Results(args.out)
    for id, code, make_fit in trainings(args.healthy, args.unopened, args.pairs, args.list):
        if args.only and not id.startswith(tuple(args.only)):
            continue
        budget_suffix = "" if args.budget is None else f"-budget-{args.budget:g}"
        record = results.read(f"{id}-{args.seed}{budget_suffix}", code)
        if "verdict" not in record:
            if time.monotonic() - start_time >= args.seconds:
                continue
            record = train_and_diagnose(make_fit, args.seed, args.budget) | {
                "id": record["id"],
                "code": code,
                **listed_cause(id),
            }
            results.write(record)
        verdict_counts[record["verdict"]] += 1
        print(f"{id:44} {record['verdict']:14} {record['first']}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in verdict_counts.most_common()))
    return 0


def trainings(
    only_healthy: bool, with_unopened: bool, only_pairs: bool = False, list_name: str | None = None
) -> Iterator[tuple[str, str, Callable[[int], Fit]]]:
    """Yield each training's id, a hash of its code and the doctor's, and the function of a seed that returns it."""
    doctor = doctor_hash()
    if only_healthy:
        file_hash = hashlib.sha256(Path(healthy.__file__).read_bytes() + doctor.digest()).hexdigest()[:12]
        for name, make_fit in healthy.HEALTHY.items():
            yield f"healthy-{re.sub(r'[^a-z0-9]+', '-', name.lower())}", file_hash, make_fit
        return
    if only_pairs:
        for data, settings in PAIRS:
            code = hashlib.sha256(Path(paired.__file__).read_bytes() + doctor.digest()).hexdigest()[:12]
            yield f"{data}+{settings}", code, partial(both_mistakes, data, settings)
        return
    for id, case in (later_cases(list_name) if list_name else cases(with_unopened=with_unopened)).items():
        yield id, f"{code_hash(case)}-{doctor.hexdigest()[:12]}", lambda seed, case=case: case(seed).mistaken


def doctor_hash() -> "hashlib._Hash":
    """Return a hash of the code of the package's and the tasks' doctors."""
    result = hashlib.sha256()
    for pattern in ("doctor/**/*.py", "tasks/*/doctor.py", "tasks/*/doctor/*.py"):
        for path in sorted(PACKAGE.glob(pattern)):
            result.update(path.read_bytes())
    return result


def listed_cause(id: str) -> Record:
    """Return the cause of a mistake and the change that mends it, as listed; nothing for a healthy training."""
    listed_by_id = {one.id: {"cause": one.cause, "change": one.change} for one in all_mistakes()}
    entries = [listed_by_id[part] for part in id.split("+") if part in listed_by_id]
    return {"listed": entries[0] if len(entries) == 1 else entries} if entries else {}


def train_and_diagnose(make_fit: Callable[[int], Fit], seed: int, budget: float | None = None) -> Record:
    """Train, ask the doctor, and return what it says, its verdict, and the processor's seconds for both."""
    start_time = time.process_time()
    try:
        fit = make_fit(seed)
        run = fit.run()
    except PellucidError as error:  # before the first step: the library refuses the mistake
        return {"verdict": "refused", "first": str(error)}
    training_end = time.process_time()
    try:
        diagnosis: Diagnosis = fit.asked(run, budget)
    except PellucidError as error:
        return {"verdict": "not examined", "first": str(error)}
    doctor_seconds = time.process_time() - training_end
    seconds = {"training": round(training_end - start_time, 2), "doctor": round(doctor_seconds, 2)}
    return {"seconds": seconds, **diagnosis_summary(diagnosis), "diagnosis": diagnosis.to_json()}


def diagnosis_summary(diagnosis: Diagnosis) -> Record:
    """Return the kind of the first finding, "silent" if there is none, and where and what its cause is."""
    if not diagnosis.findings:
        return {"verdict": "silent", "first": ""}
    first_finding = diagnosis.findings[0]
    return {
        "verdict": diagnosis.kind(0),
        "first": f"{first_finding.check} ({first_finding.path}): {first_finding.cause}",
    }


if __name__ == "__main__":
    sys.exit(main())
