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
from benchmarks.causes.cases import cases
from benchmarks.causes.fit import Fit
from benchmarks.causes.harm import Record, Results, code_of
from benchmarks.causes.listed import HERE, listed
from benchmarks.causes.paired import PAIRS, both_mistakes
from pellucid.doctor import Diagnosis
from pellucid.errors import PellucidError

FOLDER = HERE / "diagnoses"  # of results
PACKAGE = Path(pellucid.__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes.diagnose", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="ID", help="these, or those that begin so")
    parser.add_argument("--healthy", action="store_true", help="the healthy trainings instead of the mistakes")
    parser.add_argument("--pairs", action="store_true", help="two mistakes in each training")
    parser.add_argument("--unopened", action="store_true", help="also the unopened half of the mistakes")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the training (0)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further training after these")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of results")
    args = parser.parse_args()
    begun, found, results = time.monotonic(), Counter[str](), Results(args.out)
    for id, code, begin in trainings(args.healthy, args.unopened, args.pairs):
        if args.only and not id.startswith(tuple(args.only)):
            continue
        record = results.read(f"{id}-{args.seed}", code)
        if "verdict" not in record:
            if time.monotonic() - begun >= args.seconds:
                continue
            record = asked(begin, args.seed) | {"id": record["id"], "code": code, **said_of(id)}
            results.write(record)
        found[record["verdict"]] += 1
        print(f"{id:44} {record['verdict']:14} {record['first']}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in found.most_common()))
    return 0


def trainings(sound: bool, closed: bool, both: bool = False) -> Iterator[tuple[str, str, Callable[[int], Fit]]]:
    """Yield each training's id, a hash of its code and the doctor's, and the function of a seed that returns it."""
    doctor = hashlib.sha256()
    for pattern in ("doctor/**/*.py", "tasks/*/doctor.py", "tasks/*/doctor/*.py"):
        for path in sorted(PACKAGE.glob(pattern)):
            doctor.update(path.read_bytes())
    if sound:
        shared = hashlib.sha256(Path(healthy.__file__).read_bytes() + doctor.digest()).hexdigest()[:12]
        for name, begin in healthy.HEALTHY.items():
            yield f"healthy-{re.sub(r'[^a-z0-9]+', '-', name.lower())}", shared, begin
        return
    if both:
        for data, settings in PAIRS:
            code = hashlib.sha256(Path(paired.__file__).read_bytes() + doctor.digest()).hexdigest()[:12]
            yield f"{data}+{settings}", code, partial(both_mistakes, data, settings)
        return
    for id, case in cases(closed=closed).items():
        yield id, f"{code_of(case)}-{doctor.hexdigest()[:12]}", lambda seed, case=case: case(seed).mistaken


def said_of(id: str) -> Record:
    """Return the cause of a mistake and the change that mends it, as listed; nothing for a healthy training."""
    known = {one.id: {"cause": one.cause, "change": one.change} for one in listed()}
    said = [known[part] for part in id.split("+") if part in known]
    return {"listed": said[0] if len(said) == 1 else said} if said else {}


def asked(begin: Callable[[int], Fit], seed: int) -> Record:
    """Train, ask the doctor, and return what it says, its verdict, and the seconds of both."""
    started = time.perf_counter()
    try:
        fit = begin(seed)
        ran = fit.run()
    except PellucidError as error:  # before the first step: the library refuses the mistake
        return {"verdict": "refused", "first": str(error)}
    trained = time.perf_counter()
    try:
        diagnosis: Diagnosis = fit.asked(ran)
    except PellucidError as error:
        return {"verdict": "not examined", "first": str(error)}
    took = time.perf_counter() - trained
    seconds = {"training": round(trained - started, 2), "doctor": round(took, 2)}
    return {"seconds": seconds, **verdict(diagnosis), "diagnosis": diagnosis.to_json()}


def verdict(diagnosis: Diagnosis) -> Record:
    """Return the kind of the first finding, "silent" if there is none, and where and what its cause is."""
    if not diagnosis.findings:
        return {"verdict": "silent", "first": ""}
    first = diagnosis.findings[0]
    return {"verdict": diagnosis.kind(0), "first": f"{first.check} ({first.path}): {first.cause}"}


if __name__ == "__main__":
    sys.exit(main())
