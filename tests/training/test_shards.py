"""Shards of a batch: equal bits for any number of processes, gradients of whole batches, and reported faults."""

import math
import os
import signal
import subprocess
import sys
import time
from functools import cache
from itertools import repeat
from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import Adam
from pellucid.training.callbacks import Callback
from pellucid.training.distributed import Processes, assigned_range
from pellucid.training.reducer import PartialSum, append_partial_sum, total_sum
from pellucid.training.shard_loaders import shards_of_process
from tests.forked import run_forked, run_group
from tests.generators.small import wgan_gp
from tests.training import restarted, sharded_faults
from tests.training.sharded import (
    histories,
    objective_case,
    train_case,
    weights,
    weights_by_accumulation,
    weights_by_bucket,
    weights_of_few_cases,
)
from tests.training.small import digits, small_conv, small_mlp

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PELLUCID_TEST_KILLS", "3"))
LAUNCH_KILLS = 5  # kills per launch; the next launch has another number of processes


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_of_a_stream_give_the_weights_of_its_batches(shards):
    rng = torch.Generator().manual_seed(0)
    batches = [
        (torch.rand(n, 1, 8, 8, generator=rng), torch.randint(0, 10, (n,), generator=rng)) for n in (12, 5, 3, 8)
    ]

    def trained_on_stream(**options):
        model = Model(mlp((64, 20, 10)), optimizer=Adam(0.01), precision="float64")
        history = model.fit(lambda: iter(batches), epochs=2, steps_per_epoch=4, verbose=False, **options)
        return model.weights, history["train_loss"]

    expected, losses = trained_on_stream()
    actual, sharded_losses = trained_on_stream(accumulate=shards)
    for path, tensor in expected.items():
        torch.testing.assert_close(actual[path], tensor, rtol=1e-12, atol=1e-12)
    assert sharded_losses == pytest.approx(losses, rel=1e-12)


@pytest.mark.slow
def test_processes_that_read_different_streams_are_reported():
    errors = [process.error for process in run_group(2, sharded_faults.train_on_streams)]
    assert "the stream of process 1 differs from that of process 0 in batch 2; every process must" in errors[0]


def torchrun(count, *words, restarts=0):
    """Start a module in `count` processes by torchrun, on a free port."""
    settings = "--standalone", f"--nproc-per-node={count}", f"--max-restarts={restarts}"
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *settings, "-m", *words],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT},
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("shards", range(1, 18))
def test_the_sum_is_the_same_for_every_number_of_processes(shards):
    values = torch.randn(shards, 50, generator=torch.Generator().manual_seed(shards)) * 1e3
    results = []
    for count in range(1, shards + 1):
        nodes = []
        for rank in range(count):
            own_nodes = []
            for shard in assigned_range(rank, count, shards):
                append_partial_sum(own_nodes, PartialSum(0, shard, values[shard].clone()))
            for node in own_nodes:
                append_partial_sum(nodes, node)
        results.append(total_sum(nodes))
    assert all(torch.equal(result, results[0]) for result in results)
    torch.testing.assert_close(results[0].double(), values.double().sum(0), rtol=1e-5, atol=1e-3)


def test_all_shards_are_assigned_in_order():
    for shards in range(1, 9):
        for count in range(1, shards + 1):
            ranges = [assigned_range(rank, count, shards) for rank in range(count)]
            assert [shard for assigned in ranges for shard in assigned] == list(range(shards))
            assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


def train_in_float64(shards, loss, targets):
    """Train in float64 with a smaller last batch; return the weights and the losses of the epochs."""
    x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = Model(mlp((64, 20, 10)), loss=loss, optimizer=Adam(0.01), precision="float64", clip=0.5)
    history = model.fit(x, targets, epochs=25, batch_size=32, accumulate=shards, verbose=False)
    return [tensor.clone() for tensor in model.weights.values()], history["train_loss"]


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SoftmaxCrossEntropy(label_smoothing=0.1, ignore=3)], ids=str)
@pytest.mark.parametrize("shards", [2, 3, 5])
def test_the_gradients_equal_those_of_the_whole_batch(loss, shards):
    targets = torch.randint(0, 10, (50,), generator=torch.Generator().manual_seed(1))
    expected, losses = train_in_float64(1, loss, targets)
    weights, sharded_losses = train_in_float64(shards, loss, targets)
    for actual, expected_weight in zip(weights, expected, strict=True):
        torch.testing.assert_close(actual, expected_weight, rtol=1e-12, atol=1e-12)
    assert sharded_losses == pytest.approx(losses, rel=1e-12)


@cache
def result_of_one_process(function):
    """Return the result of `function` in one process with 4 shards."""
    return function(4)


def assert_equal_to_one_process(count, function):
    """Compare the results of `count` processes with the result of one process."""
    for code, result, error in run_group(count, function, 4):
        assert code == 0, error
        assert result == result_of_one_process(function)


def test_two_processes_give_bit_identical_weights_to_one(one_thread):
    assert_equal_to_one_process(2, weights_of_few_cases)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_the_bucket_size_does_not_change_the_weights(one_thread, count):
    assert_equal_to_one_process(count, weights_by_bucket)
    for name in ("shared layers", "resnet20"):
        assert (
            len({result_of_one_process(weights_by_bucket)[f"{name}, {size}"] for size in ("a value", "some", "all")})
            == 1
        )


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, *(pytest.param(count, marks=pytest.mark.long) for count in (3, 4))])
def test_processes_give_bit_identical_weights_in_every_case(one_thread, count):
    assert_equal_to_one_process(count, weights)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.long)])
def test_several_processes_give_the_metrics_of_one_process(one_thread, count):
    assert_equal_to_one_process(count, histories)


def test_accumulated_shards_equal_shards_of_processes(one_thread):
    assert train_case("lenet", accumulate=4).sha256() == train_case("lenet", shards=4).sha256()


def test_accumulated_parts_in_two_processes_equal_those_in_one(one_thread):
    expected = weights_by_accumulation(4)
    for code, result, error in run_group(2, weights_by_accumulation, 2):
        assert code == 0, error
        assert result == expected


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raised", pytest.param("hung", marks=pytest.mark.long), "SIGKILL"])
def test_a_training_that_torchrun_restarts_has_the_weights_of_an_undisturbed_one(fault, one_thread, tmp_path):
    launcher = torchrun(2, "tests.training.restarted", str(tmp_path / "run"), fault, restarts=1)
    output, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    assert ("no such augmentation" if fault == "raised" else "process 1 on") in errors
    weights_hash, calls = output.split()
    assert restarted.train(tmp_path / "undisturbed", accumulate=2) == weights_hash
    assert int(calls) < restarted.STEPS  # since it resumed from a checkpoint


class InterruptAt(Callback):
    """Interrupts the training by SIGINT in a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, training):
        if training.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_training_in_shards_is_resumed_exactly(tmp_path):
    options = {"epochs": 3, "batch_size": 48, "verbose": False, "checkpoint_seconds": 0.0}
    uninterrupted = small_conv()
    uninterrupted.fit(digits(), accumulate=3, **options)
    with pytest.raises(KeyboardInterrupt):
        small_conv().fit(digits(), accumulate=3, run=tmp_path, callbacks=[InterruptAt(9)], **options)
    resumed = small_conv()
    resumed.fit(digits(), run=tmp_path, resume=True, **options)  # the number of shards is stored in the run
    assert resumed.sha256() == uninterrupted.sha256()
    for shards in (1, 2):
        with pytest.raises(PellucidError, match="other settings: shards"):
            small_conv().fit(digits(), run=tmp_path, resume=True, shards=shards, **options)


def test_a_wgan_critic_has_equally_many_updates_in_shards_of_different_sizes():
    def losses(**options):
        model = Model(wgan_gp(5), optimizer=Adam(0.001), input_shape=(1, 8, 8), seed=1, metrics=())
        return model.fit(digits(0, 7), epochs=1, batch_size=7, verbose=False, **options).rows[0]

    result, plain = losses(accumulate=2), losses()  # shards of four and three images are divided among five updates
    assert {name for name in result if name.startswith("train")} == {name for name in plain if name.startswith("train")}
    assert all(math.isfinite(result[name]) for name in result if name.startswith("train"))


def test_batches_that_cannot_be_divided_are_refused(monkeypatch):
    def fit(**options):
        small_mlp().fit(digits(0, 20), **{"epochs": 1, "batch_size": 10, **options})

    for options, text in [
        ({"shards": 2, "accumulate": 2}, "accumulate is the number of shards in one process"),
        ({"shards": 11}, "a batch of 10 has no 11 shards"),
        ({"shards": 0}, "fit: shards must be a whole number of at least 1"),
    ]:
        with pytest.raises(PellucidError, match=text):
            fit(**options)
    model, data, _ = objective_case("gmmn")
    with pytest.raises(PellucidError, match="the MMD compares every image of a batch with every other"):
        model.fit(data, epochs=1, batch_size=4, accumulate=2)
    batches = [(torch.rand(n, 1, 8, 8), torch.zeros(n, dtype=torch.int64)) for n in (8, 1)]
    with pytest.raises(PellucidError, match="batch 2 of the stream has 1 example, fewer than the 2 shards"):
        small_mlp().fit(lambda: iter(batches), epochs=1, steps_per_epoch=2, accumulate=2, verbose=False)
    with pytest.raises(PellucidError, match="3 processes share 2 shards; start at most as many"):
        shards_of_process(Processes(0, 3), 2)
    monkeypatch.setattr("pellucid.training.plan.processes", lambda: Processes(0, 2))
    with pytest.raises(PellucidError, match="2 processes share 1 shard; start at most as many"):
        fit(shards=1)


def wait_until(condition, launcher):
    """Return the first true value of `condition()` while torchrun runs; fail after two minutes."""
    for _ in range(1200):
        if result := condition():
            return result
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.1)
    raise AssertionError("two minutes have passed")


def process_ids(launcher):
    result = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True, check=False)
    return set(map(int, result.stdout.split()))


def kill_one(launcher, count, file, generator, ended_ids):
    """Kill one of torchrun's new processes after `file` was written; add all their ids to `ended_ids`."""
    wait_until(lambda: len(process_ids(launcher) - ended_ids) == count, launcher)
    before = time.time()
    wait_until(lambda: file.exists() and file.stat().st_mtime > before, launcher)
    running_ids = sorted(process_ids(launcher) - ended_ids)
    os.kill(running_ids[int(torch.randint(0, count, (), generator=generator))], signal.SIGKILL)
    ended_ids.update(running_ids)


def kill_all(launcher):
    """Kill torchrun and its processes."""
    for process in [launcher.pid, *process_ids(launcher)]:
        os.kill(process, signal.SIGKILL)
    launcher.communicate()


@pytest.mark.long
def test_a_run_that_is_killed_and_restarted_has_the_same_weights(tmp_path):
    train = ["pellucid", "train", "digits", f"train.epochs={30 + 5 * KILLS}", "distributed.shards=4"]
    killed, whole, generator = tmp_path / "killed", tmp_path / "whole", torch.Generator().manual_seed(0)
    run, files = killed / "digits-1", ["launch", *repeat("weights/last.safetensors", KILLS - 1)]
    words = [*train, "train.checkpoint_seconds=0.1", "--out", str(killed)]
    for first in range(0, KILLS, LAUNCH_KILLS):
        count, ended_ids = 2 + first // LAUNCH_KILLS % 3, set()
        launcher = torchrun(count, *words, restarts=LAUNCH_KILLS)
        for file in files[first : first + LAUNCH_KILLS]:
            kill_one(launcher, count, run / file, generator, ended_ids)
        if first + LAUNCH_KILLS < KILLS:
            kill_all(launcher)
            words = ["pellucid", "train", "--resume", str(run)]
    _, stderr = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, stderr
    assert [path.name for path in killed.iterdir()] == ["digits-1"]
    assert run_forked(main, [*train[1:], "--out", str(whole)]) == (0, 0)
    assert Model.load(run).sha256() == Model.load(whole / "digits-1").sha256()
