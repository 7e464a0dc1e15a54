"""Ask the doctor about trainings as people post them: `python -m benchmarks.causes.posts FOLDER [--names FILE]`.

Each file of the folder has a function `training(seed, mistake)`, a training in PyTorch as `pellucid.from_torch` takes
it, or `make(folder, seed, mistake)`, which writes a data set and returns the arguments of `pellucid train`. What the
doctor says of the mistaken one is kept in one file each; the same command goes on where an interrupted one was, and
begins anew with another doctor. Whether its first sentences name the cause is left to readers.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

import pellucid
from benchmarks.causes.diagnose import doctor_hash
from benchmarks.causes.harm import Record, Results
from pellucid.base.errors import PellucidError
from pellucid.base.text import first_line
from pellucid.cli.main import main as run_command


def main() -> int:
    """Diagnose the listed files, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes.posts", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", type=Path, help="a file with the names of the trainings, one a line (all)")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the training (0)")
    parser.add_argument("--healthy", action="store_true", help="the same trainings without their mistakes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further training after these")
    parser.add_argument("--out", type=Path, required=True, help="the folder of results")
    args = parser.parse_args()
    paths = sorted(args.folder.glob("*.py"))
    if args.names:
        names = args.names.read_text("utf-8").split()
        paths = [path for path in paths if path.stem in names]
    start_time, results, doctor = time.monotonic(), Results(args.out), doctor_hash().digest()
    for path in paths:
        code = hashlib.sha256(path.read_bytes() + doctor).hexdigest()[:12]
        record = results.read(f"{path.stem}-{args.seed}{'-healthy' if args.healthy else ''}", code)
        if "verdict" not in record:
            if time.monotonic() - start_time >= args.seconds:
                continue
            record |= diagnosed(path, args.seed, not args.healthy)
            results.write(record)
        print(f"{path.stem:36} {record['verdict']:14} {record['words']}", flush=True)
    return 0


def diagnosed(path: Path, seed: int, mistake: bool) -> Record:
    """Train and ask the doctor; return the verdict, the first sentences and the processor's seconds for both."""
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), namespace)
    diagnose = diagnose_script if "training" in namespace else diagnose_recipe
    try:
        return diagnose(namespace, seed, mistake)
    except PellucidError as error:  # before the first step: the library refuses the mistake
        return {"verdict": "refused", "words": first_line(error)}


def diagnose_script(namespace: dict[str, Any], seed: int, mistake: bool) -> Record:
    """Diagnose a training in PyTorch."""
    parts = namespace["training"](seed, mistake)
    options = {key: parts[key] for key in ("loss", "optimizer", "scheduler", "train", "validation")}
    start_time = time.process_time()
    training = pellucid.from_torch(parts["network"], **options)
    training.fit(parts["epochs"], verbose=False)
    training_end = time.process_time()
    diagnosis = training.doctor().to_json()
    seconds = [round(training_end - start_time, 1), round(time.process_time() - training_end, 1)]
    return {"seconds": seconds, **what_is_said(diagnosis)}


def diagnose_recipe(namespace: dict[str, Any], seed: int, mistake: bool) -> Record:
    """Diagnose a training on a data set, through the command line; "printed" is what the training has said."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = namespace["make"](Path(folder), seed, mistake)
        start_time = time.process_time()
        status, printed, errors = command("train", *arguments, "--out", f"{folder}/runs")
        training_end = time.process_time()
        said = {"printed": printed + errors}
        if status:
            return {"verdict": "refused", "words": errors.strip().rpartition("\n")[2], **said}
        _, printed, errors = command("doctor", str(next(Path(folder, "runs").iterdir())), "--json")
        seconds = [round(training_end - start_time, 1), round(time.process_time() - training_end, 1)]
        if not printed:
            return {"verdict": "not examined", "words": errors.strip().rpartition("\n")[2], **said}
        return {"seconds": seconds, **what_is_said(json.loads(printed)), **said}


def what_is_said(diagnosis: dict[str, Any]) -> Record:
    """Return the kind and the name of the first finding, the first sentences, and the whole diagnosis."""
    first = next(iter(diagnosis["findings"]), {"kind": "silent", "check": ""})
    return {
        "verdict": first["kind"],
        "check": first["check"],
        "words": diagnosis["summary"],
        "diagnosis": diagnosis,
    }


def command(*arguments: str) -> tuple[int, str, str]:
    """Return the exit status of a command of Pellucid, and what it has printed on stdout and stderr."""
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        status = run_command(arguments)
    return status, printed.getvalue(), errors.getvalue()


if __name__ == "__main__":
    sys.exit(main())
