"""Try consecutive cases in one process: `python -m benchmarks.fuzz.trial FOLDER KIND SEED FIRST LAST`.

It prints one line of JSON for each case: the outcome, the processor time in seconds and the peak memory in bytes.
"""

import ctypes
import json
import random
import re
import resource
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.fuzz.annotations import ANNOTATIONS, outcome_of_annotations, write_annotation_case
from benchmarks.fuzz.archives import ARCHIVES, outcome_of_archive, write_archive_case
from benchmarks.fuzz.material import CHECKSUMMED, INPUT_SHAPE, PICTURES, make_model
from benchmarks.fuzz.mutations import change_header, damage, forge
from benchmarks.fuzz.names import NAME_KINDS, outcome_of_names, write_names_case
from benchmarks.fuzz.networks import NETWORKS, use_network, write_network_case
from benchmarks.fuzz.objectives import OBJECTIVES, use_objective, write_objective_case
from benchmarks.fuzz.readings import READINGS, outcome_of_reading, write_readings_case
from benchmarks.fuzz.recipes import RECIPES, use_recipe, write_recipe_case
from benchmarks.fuzz.records import RECORDS, use_record, write_record_case
from benchmarks.fuzz.runs import RUNS, use_run, write_run_case
from benchmarks.fuzz.tables import TABLES, outcome_of_table, write_table_case
from pellucid.base.errors import PellucidError
from pellucid.export import from_onnx
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.nested import nest
from pellucid.tasks.classify.predictor import predict
from pellucid.tasks.pictures import read_picture
from pellucid.weights import open_weights, require_match

MAX_ADDRESS_BYTES = 16 << 30  # a second limit, of the address space; MAX_BYTES limits the resident memory


def main(folder: Path, kind: str, seed: int, first: int, last: int) -> None:
    """Try the cases from `first` up to, but not including, `last`, and print their outcomes."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    original = folder / f"whole.{kind}"
    picture = folder / "whole.png"
    expected = result_of(kind, original, picture) if kind in CHECKSUMMED else None
    for case in range(first, last):
        path = folder / f"case-{kind}-{first}.{kind}"
        write_case(kind, original, path, random.Random(f"{seed} {kind} {case}"))
        ctypes.CDLL(None).malloc_trim(0)  # memory freed by earlier cases must not count for this one
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak (VmHWM)
        start_seconds = _processor_seconds()
        children_peak = _children_peak()
        outcome = outcome_of(kind, path, picture, expected)
        seconds = _processor_seconds() - start_seconds
        peak = _peak_bytes()
        if _children_peak() > children_peak:  # by a child process of this case
            peak = max(peak, _children_peak())
        print(json.dumps({"case": case, "outcome": outcome, "seconds": seconds, "peak": peak}), flush=True)


def outcome_of(kind: str, path: Path, picture: Path, expected: Tensor | None) -> str:
    """Return the outcome of one file: one of GOOD_OUTCOMES or a description of the fault."""
    if kind in ANNOTATIONS:
        return outcome_of_annotations(kind, path)
    if kind in READINGS:
        return outcome_of_reading(path)
    if kind in ARCHIVES:
        return outcome_of_archive(path)
    if kind in TABLES:
        return outcome_of_table(path)
    return outcome_of_names(path, picture) if kind in NAME_KINDS else outcome_of_use(kind, path, picture, expected)


def write_case(kind: str, original: Path, path: Path, rng: random.Random) -> None:  # noqa: PLR0912  one per kind
    """Write a changed copy of the original file of a kind."""
    if kind in ANNOTATIONS:
        write_annotation_case(kind, original, path, rng)
    elif kind in READINGS:
        write_readings_case(kind, path, rng)
    elif kind in TABLES:
        write_table_case(original, path, rng)
    elif kind in ARCHIVES:
        write_archive_case(kind, original, path, rng)
    elif kind in NAME_KINDS:
        write_names_case(kind, original, path, rng)
    elif kind in RUNS:
        write_run_case(original, path, rng)
    elif kind in NETWORKS:
        write_network_case(original, path, rng)
    elif kind in RECORDS:
        write_record_case(kind, original, path, rng)
    elif kind in RECIPES:
        write_recipe_case(original, path, rng)
    elif kind in OBJECTIVES:
        write_objective_case(original, path, rng)
    elif kind == "forged":
        forge(original, path, rng)
    elif kind in ("ours", "safetensors") and rng.random() < 0.5:
        path.write_bytes(change_header(original.read_bytes(), rng))
    else:
        path.write_bytes(damage(original.read_bytes(), rng))


def outcome_of_use(kind: str, path: Path, picture: Path, expected: Tensor | None) -> str:
    """Return "refused", "same", "other", or a description of the fault.

    Faults are a traceback, an unsuitable message, and an undetected change. expected: the result of the original file
    if its format has checksums, which any accepted file must then give; else None.
    """
    try:
        result = result_of(kind, path, picture)
    except PellucidError as error:
        message = str(error)
        return (
            "refused"
            if path.name in message and "\n" not in message and message.isprintable()
            else f"message: {message!r}"
        )
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split()):.300}"
    if expected is None:
        return "other"
    return "same" if torch.equal(result, expected) else "unseen: another result from a file that carries a checksum"


def result_of(kind: str, path: Path, picture: Path) -> Tensor:
    """Use a file, and return the result: the outputs of a model from a weights file, or the pixels of an image file.

    A file of a run is only read, a network of other people only opened, and the result is empty.
    """
    if kind in OBJECTIVES:
        return use_objective(kind, path, picture)
    if kind in (*RUNS, *RECORDS, *RECIPES, *NETWORKS):
        _read_only(kind, path)
        return torch.zeros(0)
    if kind in PICTURES:
        classifier = make_model()
        predict(classifier, path)
        return read_picture(classifier, path)
    if kind in ("ours", "forged"):
        return torch.tensor(list(predict(Model.load(path), picture).outputs.values()))
    if kind == "graph":
        net, params = from_onnx(path)
    else:
        classifier = make_model()
        tensors = open_weights(path)
        require_match(path, classifier.weights, tensors)
        net, params = classifier.net, nest(classifier.params, tensors)
    y, _ = net.forward(params, torch.linspace(-1, 1, 432).view(1, *INPUT_SHAPE), Mode())
    return y


def _read_only(kind: str, path: Path) -> None:
    """Read a file of a run, a recipe, or a network of other people."""
    if kind in RUNS:
        use_run(kind, path)
    elif kind in RECORDS:
        use_record(kind, path)
    elif kind in RECIPES:
        use_recipe(path)
    else:
        use_network(path)


def _processor_seconds() -> float:
    """Return the processor time of this process and of those that it started and that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _children_peak() -> int:
    """Return the largest resident memory in bytes of any child process so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


def _peak_bytes() -> int:
    """Return the peak resident memory in bytes since the last reset of the peak."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
