"""Measure what a GPU computes, how fast and in how much memory, in at most 8 minutes: `python -m benchmarks.gpu`.

`python -m benchmarks.gpu [PART ...] [--out FILE]`. The file has the parts that are done after each of them, as JSON; so
that nothing is lost if the machine is taken away. Parts: correctness (gradients beside those of the CPU in float64),
collectives (NCCL with one rank), copies, memory, decoding, training (steps of ResNet-18 and ResNet-50, as they are and
in a CUDA graph, compared with PyTorch's), keras (steps of ResNet-50 by Keras on JAX, if installed), compiled (those of
training by torch.compile, for which a call of all parts may lack the time: it takes six minutes). A page of Markdown
with the figures is written next to the file.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from benchmarks.gpu.correct import correctness
from benchmarks.gpu.keras_steps import keras_training
from benchmarks.gpu.page import page
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import COMPILED, memory, training
from benchmarks.gpu.transfer import collectives, copies, decoding
from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.run.folder import environment
from pellucid.training.device import device_name, usable_device

TIME_LIMIT = 470  # after which the measurement ends, and nothing more is begun
CONDITIONS = "device", "cpu", "python", "torch", "pellucid"  # under which figures of two runs are comparable
Part = Callable[[Settings], dict[str, Any]]
PARTS: dict[str, Part] = {  # compiling takes longest, and is the last
    "correctness": correctness,
    "collectives": collectives,
    "copies": copies,
    "memory": memory,
    "decoding": decoding,
    "training": training,
    "keras": keras_training,
    "compiled": partial(training, forms=COMPILED),
}


def measure_parts(parts: Mapping[str, Part], settings: Settings, out: Path) -> dict[str, Any]:
    """Return the figures of some parts, and write those that are done to a file after each.

    Parts that the file has already, measured on the same device with the same versions, stay in it.
    """
    results: dict[str, Any] = {**environment(), "device": device_name(settings.device)}
    if out.is_file():
        earlier_results = json.loads(out.read_text())
        if all(earlier_results.get(name) == results[name] for name in CONDITIONS):
            results = earlier_results
    for name, part in parts.items():
        start_time = time.monotonic()
        figures = settings.try_measure(lambda part=part: part(settings))
        results[name] = {"figures": figures, "seconds": round(time.monotonic() - start_time, 1)}
        write_atomically(out, (json.dumps(results, indent=2) + "\n").encode())
        write_atomically(out.with_suffix(".md"), page(results).encode())
        print(json.dumps({name: results[name]}), flush=True)
    return results


def stop_measurement(number: int, frame: object) -> NoReturn:
    """End the measurement that is under way."""
    raise TimeoutError("no time left")


def main() -> int:
    """Measure some parts, by default all; 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="file of the figures, by default gpu.json")
    args = parser.parse_args()
    unknown = next((name for name in args.parts if name not in PARTS), None)
    if unknown is not None:
        parser.error(f"no part {unknown!r}; parts: {', '.join(PARTS)}")
    try:
        device = usable_device("cuda")
    except PellucidError:
        print("benchmarks.gpu: this machine has no GPU that PyTorch can use; run it on one that has", file=sys.stderr)
        return 2
    torch.cuda.set_device(0)
    signal.signal(signal.SIGALRM, stop_measurement)
    signal.alarm(TIME_LIMIT)
    settings = Settings(device, time.monotonic() + TIME_LIMIT)
    measure_parts(
        {name: part for name, part in PARTS.items() if not args.parts or name in args.parts}, settings, args.out
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
