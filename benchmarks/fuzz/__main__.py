"""Try damaged and forged files: `python -m benchmarks.fuzz --weights 20000 --pictures 5000 --annotations 2000`.

Each file is loaded and used for a prediction in another process. A case is a fault if it ends in a traceback; in an
error message that is not one printable line with the file's name; with more than 10 s of processor time or 1 GiB of
memory; in a process that ends or hangs; or if a damaged file with checksums (ours, PyTorch's zip, PNG) is accepted and
gives another result than the original. In a format without checksums, changed numbers cannot be detected: a file is
accepted if its names, shapes and dtypes are those of the network. "forged" files are files of ours with changed values
and a matching SHA-256. Annotations and masks are read as in training, together with their image; "listed" means that
the file is loaded without some objects, which are listed as faults, and an object that is neither loaded nor listed is
a fault. Archives are zips of annotations with few bytes and many objects; each is read by `data lint`, `data show`,
`data convert` or for training. Names of classes and images must be unchanged by `data convert` ("same") or refused.
Readings are small data sets in unusual forms, whose meaning is known: names in some encoding, values of masks, names of
parts, depths of pixels, lines of YOLO text, groups of shapes; each is read as meant ("same"), refused, or a note states
the difference ("listed"), and another reading is a fault. Objectives are weights files of detectors and generators with
changed hyperparameters; runs are the CSV files of run folders, and records their other small files and those of sweeps;
recipes are TOML; tables of labels are CSV, TSV and JSON lines; networks are exported programs and ONNX files of other
people, opened as models. The table is printed, and the exit status is 1 if there is any fault.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fuzz.annotations import ANNOTATIONS, write_annotations
from benchmarks.fuzz.archives import ARCHIVES, write_archives
from benchmarks.fuzz.material import PICTURES, WEIGHTS, write_picture, write_weights
from benchmarks.fuzz.names import NAME_KINDS, write_names
from benchmarks.fuzz.networks import NETWORKS, write_network
from benchmarks.fuzz.objectives import OBJECTIVES, write_objective
from benchmarks.fuzz.readings import READINGS, write_readings
from benchmarks.fuzz.recipes import RECIPES, write_recipe
from benchmarks.fuzz.records import RECORDS, write_record
from benchmarks.fuzz.runs import RUNS, write_run
from benchmarks.fuzz.tables import TABLES, write_table

MAX_SECONDS = 10.0  # processor time per file
MAX_BYTES = 1 << 30  # memory per file
HANG_SECONDS = 120.0  # time without output after which a process counts as hanging; long, because machines are shared
GOOD_OUTCOMES = ("refused", "listed", "same", "other")
CASES_PER_PROCESS = 700
ARCHIVES_PER_PROCESS = (
    5  # for archives, whose large images leave freed memory behind that would count for the next file
)
WRITERS: dict[str, Callable[[str, Path], None]] = {
    **dict.fromkeys(WEIGHTS, write_weights), **dict.fromkeys(PICTURES, write_picture),
    **dict.fromkeys(ANNOTATIONS, write_annotations), **dict.fromkeys(ARCHIVES, write_archives),
    **dict.fromkeys(NAME_KINDS, write_names), **dict.fromkeys(OBJECTIVES, write_objective),
    **dict.fromkeys(RUNS, write_run), **dict.fromkeys(RECORDS, write_record), **dict.fromkeys(RECIPES, write_recipe),
    **dict.fromkeys(NETWORKS, write_network), **dict.fromkeys(READINGS, write_readings),
    **dict.fromkeys(TABLES, write_table),
}  # fmt: skip


@dataclass
class Result:
    """The outcomes of the files of one kind; seconds and peak (in bytes): the maxima over the files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0

    def add(self, case: dict[str, object]) -> None:
        """Add the outcome of one case."""
        outcome, seconds, peak = str(case["outcome"]), float(str(case["seconds"])), int(str(case["peak"]))
        self.seconds, self.peak = max(self.seconds, seconds), max(self.peak, peak)
        self.outcomes[outcome if outcome in GOOD_OUTCOMES else "fault"] += 1
        if outcome not in GOOD_OUTCOMES or seconds > MAX_SECONDS or peak > MAX_BYTES:
            self.faults.append(f"{case['case']}: {outcome}, {seconds:.1f} s, {peak >> 20} MiB")


def fuzz(counts: dict[str, int], seed: int, processes: int) -> dict[str, Result]:
    """Try `counts[kind]` files of each kind, and return the results by kind."""
    results = {kind: Result() for kind in counts}
    with tempfile.TemporaryDirectory() as folder:
        for kind in {*counts, "png"}:
            WRITERS[kind](kind, Path(folder, f"whole.{kind}"))
        case_ranges = [
            (kind, first, min(first + size, count))
            for kind, count in counts.items()
            for size in (ARCHIVES_PER_PROCESS if kind in ARCHIVES else CASES_PER_PROCESS,)
            for first in range(0, count, size)
        ]
        with ThreadPoolExecutor(processes) as pool:
            for kind, cases in pool.map(lambda one: (one[0], _run_cases(folder, seed, *one)), case_ranges):
                for case in cases:
                    results[kind].add(case)
    return results


def _run_cases(folder: str, seed: int, kind: str, first: int, last: int) -> list[dict[str, object]]:
    """Return the outcomes of the cases; after a process that ends or hangs, start another one for the rest."""
    cases: list[dict[str, object]] = []
    while first + len(cases) < last:
        next_case = first + len(cases)
        command = [sys.executable, "-m", "benchmarks.fuzz.trial", folder, kind, *map(str, (seed, next_case, last))]
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
            selectors.DefaultSelector() as selector,
        ):
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(HANG_SECONDS) and (line := process.stdout.readline()):
                cases.append(json.loads(line))
            process.kill()
            process.wait()
            errors.seek(0)
            error_text = errors.read().decode("utf-8", "replace")[-300:]
        if first + len(cases) < last:
            outcome = f"process ended or hung ({process.returncode}): {' '.join(error_text.split())}"
            cases.append({"case": first + len(cases), "outcome": outcome, "seconds": 0, "peak": 0})
    return cases


def split_count(total: int, kinds: tuple[str, ...]) -> dict[str, int]:
    """Return the number of files of each kind, equal up to 1, whose sum is `total`."""
    return {kind: total // len(kinds) + (index < total % len(kinds)) for index, kind in enumerate(kinds)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=20_000)
    parser.add_argument("--pictures", type=int, default=5_000)
    parser.add_argument("--annotations", type=int, default=2_000)
    parser.add_argument("--archives", type=int, default=2_000)
    parser.add_argument("--names", type=int, default=2_000)
    parser.add_argument("--objectives", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--networks", type=int, default=2_000)
    parser.add_argument("--readings", type=int, default=3_000)
    parser.add_argument("--records", type=int, default=6_000)
    parser.add_argument("--recipes", type=int, default=2_000)
    parser.add_argument("--tables", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    counts = split_count(options.weights, WEIGHTS) | split_count(options.pictures, PICTURES)
    counts |= split_count(options.annotations, ANNOTATIONS) | split_count(options.archives, ARCHIVES)
    counts |= (
        split_count(options.names, NAME_KINDS)
        | split_count(options.objectives, OBJECTIVES)
        | split_count(options.runs, RUNS)
        | split_count(options.networks, NETWORKS)
        | split_count(options.readings, READINGS)
        | split_count(options.records, RECORDS)
        | split_count(options.recipes, RECIPES)
        | split_count(options.tables, TABLES)
    )
    counts = {kind: count for kind, count in counts.items() if count}
    results = fuzz(counts, options.seed, options.processes)
    print("| kind | files | refused | listed | same result | other, valid | at fault | most CPU s | most MiB |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for kind, result in results.items():
        outcome_counts = [result.outcomes[name] for name in GOOD_OUTCOMES]
        cells = [kind, counts[kind], *outcome_counts, len(result.faults), f"{result.seconds:.2f}", result.peak >> 20]
        print("| " + " | ".join(map(str, cells)) + " |")
    for kind, result in results.items():
        for fault in result.faults:
            print(f"{kind} {fault}", file=sys.stderr)
    return int(any(result.faults for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
