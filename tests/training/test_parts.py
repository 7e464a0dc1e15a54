"""Training with exact=False: two processes equal one process with whole batches, except for rounding errors."""

import os

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import Loader
from pellucid.recipe.tables import Distributed
from pellucid.training.step import TrainingStep
from tests.forked import run_group
from tests.training.parts import CASES, case, train_cases
from tests.training.small import digits, small_conv, small_mlp
from tests.training.whole_batch import SEED, ShardDraws

EPOCHS = int(os.environ.get("PELLUCID_TEST_EPOCHS", "3"))  # with two or three steps each


def train_with_whole_batches(monkeypatch, name, batch_norm):
    """Train one case with whole batches and the processes' random draws; return its weights and losses."""
    model, data, batch_size = case(name, batch_norm)
    loader = Loader(data, batch_size, SEED, dtype=torch.float64)
    step, draws, number, losses = TrainingStep.of(model, len(data), in_sweep=False), ShardDraws(monkeypatch, 2), 0, []
    with torch.inference_mode():
        for epoch in range(EPOCHS):
            total = weight = 0.0
            for batch in loader.epoch(epoch):
                draws.seed(number, len(batch.images))
                result = model.objective.total(step(batch, model.optimizer.lr, draws.rng))
                batch_weight = float(model.objective.total_weight(batch))
                total, weight, number = total + result * batch_weight, weight + batch_weight, number + 1
            losses.append(total / weight)
    return model.weights, losses


@pytest.mark.heavy
@pytest.mark.slow
def test_two_processes_train_as_one_with_whole_batches(monkeypatch):
    (_, actual, error), _ = run_group(2, train_cases, EPOCHS)
    assert not error
    assert len(actual) == 2 * len(CASES)
    for (batch_norm, name), (weights, losses) in actual.items():
        with monkeypatch.context() as context:
            expected, expected_losses = train_with_whole_batches(context, name, batch_norm)
        assert losses == pytest.approx(expected_losses, rel=1e-12), (name, batch_norm)
        assert weights.keys() == expected.keys()
        largest = max(float(tensor.abs().max()) for tensor in expected.values())  # biases before batch norm stay near 0
        for path, tensor in expected.items():
            close = {"rtol": 1e-12, "atol": 1e-12 * largest, "msg": f"{batch_norm} {name} {path}"}
            torch.testing.assert_close(torch.from_numpy(weights[path]), tensor, **close)


def test_one_process_trains_equally_with_exact_false_and_true():
    options = {"epochs": 2, "batch_size": 30, "verbose": False}
    expected, model = small_conv(), small_conv()
    expected.fit(digits(), **options)
    model.fit(digits(), exact=False, batch_norm="sync", **options)
    assert model.sha256() == expected.sha256()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"batch_norm": "sync"},
            "with batch_norm='sync', the bits depend on the number of processes; give exact=False",
        ),
        ({"batch_norm": "local"}, "with batch_norm='local', the bits depend on the number of processes"),
        ({"batch_norm": "batch", "exact": False}, "batch_norm must be one of shard, local, sync, not 'batch'"),
        ({"batch_norm": "shard", "exact": False}, "at once; leave out shards and accumulate, and give batch_norm="),
        ({"shards": 2, "exact": False}, "leave out shards and accumulate"),
        ({"accumulate": 2, "exact": False}, "leave out shards and accumulate"),
    ],
)
def test_contradictory_settings_are_refused(options, text):
    with pytest.raises(PellucidError, match=text):
        small_mlp().fit(digits(0, 20), epochs=1, **options)


def test_an_unknown_kind_of_batch_norm_in_a_recipe_is_refused():
    with pytest.raises(PellucidError, match=r"distributed\.batch_norm must be one of shard, local, sync, not 'both'"):
        Distributed(batch_norm="both")
