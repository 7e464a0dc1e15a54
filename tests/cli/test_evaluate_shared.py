"""`pellucid evaluate` in two processes of torchrun prints the results of a single process, once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from pellucid.training.distributed import ALONE, Processes
from tests.cli import evaluated

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


class SimulatedProcesses(Processes):
    """One of several simulated processes, whose parts the test computes one after another."""

    def from_all(self, value):
        return [[part * part for part in parts] for parts in (range(2), range(2, 5))]


def test_parts_are_computed_in_order_and_one_by_one_in_one_process():
    computed_parts = []

    def compute(part):
        computed_parts.append(part)
        return part * part

    result = ALONE.shared(range(5), compute)
    assert next(result) == 0
    assert computed_parts == [0]
    assert [*result] == [1, 4, 9, 16]


@pytest.mark.parametrize(("rank", "own_parts"), [(0, [0, 1]), (1, [2, 3, 4])])
def test_each_process_computes_its_parts_and_returns_all(rank, own_parts):
    computed_parts = []

    def compute(part):
        computed_parts.append(part)
        return part * part

    assert [*SimulatedProcesses(rank, 2).shared(range(5), compute)] == [0, 1, 4, 9, 16]
    assert computed_parts == own_parts


@pytest.mark.heavy
@pytest.mark.slow
def test_two_processes_return_the_results_of_one_for_every_task(tmp_path, capsys, monkeypatch):
    evaluated.write_data(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as torchrun does
    try:
        evaluated.evaluate(tmp_path)
    finally:
        torch.set_num_threads(threads)
    expected = capsys.readouterr().out.splitlines()
    assert len(expected) == len(evaluated.DATA_BY_MODEL) + 2  # and two generators
    process = subprocess.run(
        [*LAUNCH, "-m", "tests.cli.evaluated", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[:-2] == expected
    assert sorted(lines[-2:]) == [f"process {rank}: part 3 is broken" for rank in range(2)]
    pages = [(tmp_path / f"page-of-{count}.html").read_bytes() for count in (1, 2)]
    assert pages[0] == pages[1]


@pytest.mark.heavy
@pytest.mark.slow
def test_a_run_of_two_processes_is_diagnosed_traced_and_verified_as_any_other(tmp_path, cli):
    command = [*LAUNCH, "-m", "pellucid", "train", "digits", "train.epochs=2", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    run = str(tmp_path / "digits-1")
    assert cli("train", "digits", "train.epochs=2", "train.accumulate=2", "recipe.threads=1").code == 0
    Image.linear_gradient("L").save("digit.png")
    for command, *words in (["doctor"], ["verify"], ["evaluate"], ["trace", "digit.png"]):
        of_two_processes, of_one = cli(command, run, *words, "--json"), cli(command, "runs/digits-1", *words, "--json")
        assert of_one.code == 0
        assert of_two_processes.out.replace(run, "runs/digits-1") == of_one.out
