"""What each mistake costs: the scores of the mistaken and of the sound training, with several seeds."""

import gzip
import hashlib
import inspect
import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.causes import data, fit, scores, usual
from benchmarks.causes.fit import Case
from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically

SEEDS = (0, 1, 2)
MIN_DEVIATIONS = 2  # that a harm must be larger than

Record = dict[str, Any]


def code_hash(case: Case) -> str:
    """Return a short hash of the case and of what all cases share."""
    shared = (inspect.getsource(module) for module in (data, fit, scores, usual))
    return hashlib.sha256("\0".join((inspect.getsource(case), *shared)).encode()).hexdigest()[:12]


class Results:
    """One JSON file for each case, in a folder; a case of other code begins anew."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def read(self, id: str, code: str) -> Record:
        """Return what is known of a case; code: the hash of what it is now."""
        path = self.folder / f"{id}.json"
        if path.exists():
            record: Record = json.loads(path.read_text("utf-8"))
            if record["code"] == code:
                return record
        return {"id": id, "code": code}

    def write(self, record: Record) -> None:
        """Replace the file of a case at once."""
        path = self.folder / f"{record['id']}.json"
        path.with_suffix(".part").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        path.with_suffix(".part").replace(path)


class HarmFile:
    """One compressed JSON file for all cases, by id; a case of other code begins anew."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> dict[str, Record]:
        """Return what is known of each case."""
        if not self.path.exists():
            return {}
        return json.loads(gzip.decompress(self.path.read_bytes()))

    def read(self, id: str, code: str) -> Record:
        """Return what is known of a case; code: the hash of what it is now."""
        record = self.records().get(id)
        if record is None or record["code"] != code:
            return {"id": id, "code": code}
        return record

    def write(self, record: Record) -> None:
        """Replace the record of a case."""
        records = self.records() | {record["id"]: record}
        text = json.dumps(records, indent=1, sort_keys=True) + "\n"
        write_atomically(self.path, gzip.compress(text.encode(), mtime=0))  # the same bytes for the same records


def measure_case(case: Case, seed: int) -> Record:
    """Return both scores with one seed, and the seconds of each training."""
    pair = case(seed)
    start_time = time.perf_counter()
    try:
        mistaken_run = pair.mistaken.run()
    except PellucidError as error:  # before the first step: the library refuses the mistake
        return {"refused": str(error)}
    seconds = time.perf_counter() - start_time
    result = {
        "mistaken": pair.mistaken.score(mistaken_run.model),
        "sound": pair.sound.reached(),
        "measure": pair.measure,
    }
    return {**result, "seconds": round(seconds, 2), "stopped": str(mistaken_run.stopped or "")}


def harm_summary(record: Record) -> Record:
    """Return the mean harm over seeds, its standard deviation, and whether it is large enough."""
    runs = [run for run in record["seeds"].values() if "refused" not in run]
    if len(runs) < len(SEEDS):
        return {"harm": None, "deviation": None, "harmful": False}
    harms = [run["sound"] - run["mistaken"] for run in runs]
    harm, deviation = mean(harms), stdev(harms)
    return {"harm": round(harm, 4), "deviation": round(deviation, 4), "harmful": harm > MIN_DEVIATIONS * deviation}
