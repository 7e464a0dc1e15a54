"""Shards of a batch: the same bits in one process and in many, the gradients of whole batches, failures by name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import Adam
from pellucid.training.callbacks import Callback
from pellucid.training.distributed import Processes, dealt
from pellucid.training.shards import PartialSum, append, shards_of, total
from tests.training.sharded import CASES, history, of_objective, trained
from tests.training.small import digits, small_conv, small_mlp

ROOT = Path(__file__).parents[2]


def torchrun(count, *words, restarts=0):
    """Start a module in some processes, on a free port."""
    settings = "--standalone", f"--nproc-per-node={count}", f"--max-restarts={restarts}"
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *settings, "-m", *words],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT},
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def output(count, *words):
    """Return what a module prints to stdout and stderr in some processes."""
    return torchrun(count, *words).communicate(timeout=300)


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
            own = []
            for shard in dealt(rank, count, shards):
                append(own, PartialSum(0, shard, values[shard].clone()))
            for node in own:
                append(nodes, node)
        results.append(total(nodes))
    assert all(torch.equal(result, results[0]) for result in results)
    torch.testing.assert_close(results[0].double(), values.double().sum(0), rtol=1e-5, atol=1e-3)


def test_shards_are_dealt_in_order_and_all():
    for shards in range(1, 9):
        for count in range(1, shards + 1):
            own = [dealt(rank, count, shards) for rank in range(count)]
            assert [shard for part in own for shard in part] == list(range(shards))
            assert max(map(len, own)) - min(map(len, own)) <= 1


def doubled(shards, loss, targets):
    """Train in float64 with an uneven last batch; return the weights."""
    x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = Model(mlp((64, 20, 10)), loss=loss, optimizer=Adam(0.01), precision="float64", clip=0.5)
    history = model.fit(x, targets, epochs=25, batch_size=32, accumulate=shards, verbose=False)
    return [tensor.clone() for tensor in model.weights.values()], history["train_loss"]


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SoftmaxCrossEntropy(label_smoothing=0.1, ignore=3)], ids=str)
@pytest.mark.parametrize("shards", [2, 3, 5])
def test_the_gradients_are_those_of_the_whole_batch(loss, shards):
    targets = torch.randint(0, 10, (50,), generator=torch.Generator().manual_seed(1))
    expected, losses = doubled(1, loss, targets)
    weights, own = doubled(shards, loss, targets)
    for one, other in zip(weights, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert own == pytest.approx(losses, rel=1e-12)


def test_two_processes_compute_the_bits_of_one(one_thread):
    stdout, stderr = output(2, "tests.training.sharded", "weights", "4")
    rows = [line.split("\t") for line in stdout.splitlines() if line]
    found = {rank: {case: digest for one, case, digest in rows if one == rank} for rank in ("0", "1")}
    assert found["0"] == found["1"], stderr
    for name in CASES:
        assert trained(name, shards=4).sha256() == found["0"][name], name


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 4])
def test_more_processes_compute_the_bits_of_one(one_thread, count):
    stdout, stderr = output(count, "tests.training.sharded", "weights", "4")
    rows = [line.split("\t")[1:] for line in stdout.splitlines() if line]
    assert len(rows) == count * len(CASES), stderr
    assert {tuple(row) for row in rows} == {(name, trained(name, shards=4).sha256()) for name in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_more_processes_measure_what_one_measures(one_thread, count):
    stdout, stderr = output(count, "tests.training.sharded", "history", "4")
    rows = [line.split("\t")[1:] for line in stdout.splitlines() if line]
    assert len(rows) == count * len(CASES), stderr
    assert {tuple(row) for row in rows} == {(name, history(name, shards=4)) for name in CASES}


def test_accumulated_parts_are_shards(one_thread):
    assert trained("lenet", accumulate=4).sha256() == trained("lenet", shards=4).sha256()


class StopIn(Callback):
    """Ask the training to stop by Ctrl-C in a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, training):
        if training.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_training_in_shards_is_resumed_exactly(tmp_path):
    options = {"epochs": 3, "batch_size": 48, "verbose": False, "checkpoint_seconds": 0.0}
    whole = small_conv()
    whole.fit(digits(), accumulate=3, **options)
    with pytest.raises(KeyboardInterrupt):
        small_conv().fit(digits(), accumulate=3, run=tmp_path, callbacks=[StopIn(9)], **options)
    resumed = small_conv()
    resumed.fit(digits(), run=tmp_path, resume=True, **options)  # the run keeps its number of shards
    assert resumed.sha256() == whole.sha256()
    with pytest.raises(PellucidError, match="other settings: shards"):
        small_conv().fit(digits(), run=tmp_path, resume=True, shards=2, **options)


def test_what_cannot_be_divided_is_refused():
    def fit(**options):
        small_mlp().fit(digits(0, 20), **{"epochs": 1, "batch_size": 10, **options})

    for options, text in [
        ({"shards": 2, "accumulate": 2}, "accumulate is the number of shards in one process"),
        ({"shards": 11}, "a batch of 10 has no 11 shards"),
        ({"shards": 0}, "fit: shards must be a whole number of at least 1"),
    ]:
        with pytest.raises(PellucidError, match=text):
            fit(**options)
    model, data, _ = of_objective("gmmn")
    with pytest.raises(PellucidError, match="the MMD compares every image of a batch with every other"):
        model.fit(data, epochs=1, batch_size=4, accumulate=2)
    batches = [(torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64))]
    with pytest.raises(PellucidError, match="a stream cannot be divided into shards"):
        small_mlp().fit(lambda: iter(batches), epochs=1, steps_per_epoch=1, accumulate=2)
    with pytest.raises(PellucidError, match="3 processes share 2 shards; start at most as many"):
        shards_of(Processes(0, 3), 2)


@pytest.mark.parametrize(
    ("fault", "texts"),
    [
        ("nan", ["training stopped in step 3", " in process 1; see its message"]),
        ("seed", ["process 1 on ", "differs from process 0 in: seed; give all processes the same"]),
        ("hung", ["process 1 on ", "ended or does not answer", "Timed out"]),
        ("killed", ["process 1 on ", "ended or does not answer"]),
        (
            "raised",
            ["process 1 on ", "ended or does not answer", "PellucidError: no such augmentation"],
        ),
    ],
)
def test_a_fault_of_one_process_is_named_by_the_others(fault, texts):
    _, stderr = output(2, "tests.training.sharded_faults", fault)
    for text in texts:
        assert text in stderr


def test_the_history_names_the_process_that_the_others_waited_for():
    stdout, stderr = output(2, "tests.training.sharded_faults", "slow")
    (text,) = [line for line in stdout.splitlines() if line.startswith("waits")]
    _, slowest, seconds = text.split()
    assert slowest == "1", stderr
    assert 0.4 <= float(seconds) < 5  # the second process sleeps for half a second


def until(value, started):
    """Wait until a function returns something true while torchrun runs, and return it."""
    for _ in range(1200):
        if found := value():
            return found
        assert started.poll() is None, started.communicate()
        time.sleep(0.1)
    raise AssertionError("two minutes have passed")


def ranks(started):
    found = subprocess.run(["pgrep", "-P", str(started.pid)], capture_output=True, text=True, check=False)
    return set(map(int, found.stdout.split()))


def kill_one(started, file, generator, ended):
    """Kill one of two new processes of torchrun when they have written a file; add both to those that have ended."""
    until(lambda: len(ranks(started) - ended) == 2, started)
    before = time.time()
    until(lambda: file.exists() and file.stat().st_mtime > before, started)
    running = sorted(ranks(started) - ended)
    os.kill(running[int(torch.randint(0, 2, (), generator=generator))], signal.SIGKILL)
    ended.update(running)


@pytest.mark.slow
def test_kills_and_restarts_end_in_the_same_weights(tmp_path):
    train = ["pellucid", "train", "digits", "train.epochs=150", "distributed.shards=4"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    started = torchrun(2, *train, "train.checkpoint_seconds=0.1", "--out", str(killed), restarts=9)
    generator, ended = torch.Generator().manual_seed(0), set()
    for file in ["launch", "weights/last.safetensors", "weights/last.safetensors"]:
        kill_one(started, killed / "digits-1" / file, generator, ended)
    _, stderr = started.communicate(timeout=300)
    assert started.returncode == 0, stderr
    assert [path.name for path in killed.iterdir()] == ["digits-1"]
    output(1, *train, "--out", str(whole))
    assert Model.load(killed / "digits-1").sha256() == Model.load(whole / "digits-1").sha256()
