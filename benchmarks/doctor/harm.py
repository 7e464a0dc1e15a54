"""What each mistake costs: the scores of the mistaken and of the sound training, with several seeds."""

import gzip
import json
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from benchmarks.doctor.fit import Case
from benchmarks.doctor.listed import FOLDER
from benchmarks.doctor.lists import Entry
from benchmarks.doctor.store import Record
from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically

SEEDS = (0, 1, 2)
MIN_DEVIATIONS = 2  # that a harm must be larger than
PATH = FOLDER / "harm.json.gz"  # what is known of each mistake, by its id


def measure(chosen: Iterable[Entry], end: float, path: Path = PATH) -> None:
    """Measure what the mistakes cost that are not known, and print it; begin no training after `end`."""
    for entry in chosen:
        if entry.case is None:
            continue
        record = read(path).get(entry.name, {})
        if record.get("code") != entry.code:
            record = {"id": entry.name, "code": entry.code, "seeds": {}}
        for seed in SEEDS:
            if str(seed) not in record["seeds"] and time.monotonic() < end:
                record["seeds"][str(seed)] = scores_of(entry.case, seed)
                write(path, record | summary(record))
        print(f"{entry.name:44} {summary(record)}", flush=True)


def read(path: Path = PATH) -> dict[str, Record]:
    """Return what is known of each mistake."""
    return json.loads(gzip.decompress(path.read_bytes())) if path.exists() else {}


def write(path: Path, record: Record) -> None:
    """Replace what is known of a mistake."""
    text = json.dumps(read(path) | {record["id"]: record}, indent=1, sort_keys=True) + "\n"
    write_atomically(path, gzip.compress(text.encode(), mtime=0))  # the same bytes for the same records


def scores_of(case: Case, seed: int) -> Record:
    """Return both scores with one seed, and the seconds of the mistaken training."""
    pair = case(seed)
    start_time = time.perf_counter()
    try:
        ran = pair.mistaken.run()
    except PellucidError as error:  # before the first step: the library refuses the mistake
        return {"refused": str(error)}
    seconds = round(time.perf_counter() - start_time, 2)
    scores = {"mistaken": pair.mistaken.score(ran.model), "sound": pair.sound.reached(), "measure": pair.measure}
    return {**scores, "seconds": seconds, "stopped": str(ran.stopped or "")}


def summary(record: Record) -> Record:
    """Return the mean harm over seeds, its standard deviation, and whether it is large enough."""
    harms = [run["sound"] - run["mistaken"] for run in record["seeds"].values() if "refused" not in run]
    if len(harms) < len(SEEDS):
        return {"harm": None, "deviation": None, "harmful": False}
    harm, deviation = mean(harms), stdev(harms)
    return {"harm": round(harm, 4), "deviation": round(deviation, 4), "harmful": harm > MIN_DEVIATIONS * deviation}
