"""Measure what Pellucid computes before it is of use: `python -m benchmarks.start [--rounds 5]`.

Each row is a fresh process, with cached byte code and one thread: the smallest processor time of the rounds, in
seconds and relative to `import torch` alone. Rows with a target say whether it is reached.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from benchmarks.results import ROOT

PELLUCID = (sys.executable, "-m", "pellucid")

# The process ends as soon as the first step has changed the weights.
FIRST_STEP = """
import os, sys
from pellucid.training.step import TrainingStep
step = TrainingStep.__call__
def first(*args, **kwargs):
    step(*args, **kwargs)
    os._exit(0)
TrainingStep.__call__ = first
sys.argv = ["pellucid", "train", "digits", "train.epochs=1", "--out", sys.argv[1]]
from pellucid.cli.process import run
run()
"""
NETWORK = """
import torch
from torch import nn
network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5408, 10)).eval()
x = torch.rand(2, 1, 28, 28)
"""
EXPORT = f"{NETWORK}torch.export.export(network, (x,), strict=False)"
OPEN = f"{NETWORK}import pellucid; pellucid.open(network, x)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*PELLUCID, "samples", "try"], check=True, capture_output=True, cwd=folder, env=environment())
        digit = str(next(Path(folder, "try/digits").rglob("*.png")))
        python = (sys.executable, "-c")
        import_torch = measure((*python, "import torch"), folder, rounds)
        print_row("import torch", import_torch, import_torch)
        prediction = measure((*PELLUCID, "predict", "mnist-lenet", digit), folder, rounds)
        print_row("first prediction of mnist-lenet", prediction, import_torch, 1.8)
        page = min(studio_seconds(folder) for _ in range(rounds))
        print_row("first page of the studio", page, import_torch, 1.5)
        step = measure((*python, FIRST_STEP, folder), folder, rounds)
        print_row("first step of `train digits`", step, import_torch, 2.0)
        export = measure((*python, EXPORT), folder, rounds)
        print_row("torch.export of a small network", export, import_torch)
        opening = measure((*python, OPEN), folder, rounds)
        print_row("pellucid.open of it", opening, import_torch, 2 * export)


def print_row(title: str, seconds: float, import_torch: float, target: float | None = None) -> None:
    text = f"{title:32} {seconds:5.2f} s, {seconds / import_torch:4.2f} of import torch"
    if target is not None:
        text += f"; target {target:.2f} s: {'reached' if seconds <= target else 'missed'}"
    print(text, flush=True)


def environment() -> dict[str, str]:
    """Return the environment of a process: one thread, and byte code that is cached as for users."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def measure(command: tuple[str, ...], folder: str, rounds: int) -> float:
    """Return the smallest processor time of a command, after one run that is not counted."""
    seconds = []
    for _ in range(1 + rounds):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, env=environment()
        ) as process:
            seconds.append(wait(process))
        if process.returncode:
            sys.exit(f"{' '.join(command)[:200]} failed with exit code {process.returncode}")
    return min(seconds[1:])


def wait(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; return its processor time, by the operating system."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def studio_seconds(folder: str) -> float:
    """Return the processor time of the studio until it has served its first page, and is ended."""
    command = (*PELLUCID, "studio", "--no-open", "--port", "0")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder, env=environment()
    ) as process:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline().decode())
        assert address is not None
        with urllib.request.urlopen(address[0]) as response:
            response.read()
        process.kill()
        return wait(process)


if __name__ == "__main__":
    main()
