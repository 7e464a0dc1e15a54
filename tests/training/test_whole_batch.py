"""The summed gradients of all shards equal those of the whole batch, for every objective and loss."""

from dataclasses import replace

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.generators import Zhang
from pellucid.layers import Conv2d, Dense, Flatten, LogSoftmax, ReLU
from pellucid.losses import (
    BinaryCrossEntropy,
    Coordinates,
    Dice,
    Focal,
    HeatMaps,
    Hinge,
    Huber,
    NegativeLogLikelihood,
    Quadratic,
    QualityFocal,
    SoftmaxCrossEntropy,
)
from pellucid.model import Model
from pellucid.ops.image_objects import Objects
from pellucid.optim import SGD
from pellucid.training.distributed import Processes
from pellucid.training.process import StopSignals
from pellucid.training.shards import ShardedStep
from tests.objectives import OBJECTIVES
from tests.training.sharded import Examples
from tests.training.whole_batch import SEED, ShardDraws, assert_same_turns, part_of, step_of, without_statistics

DIVISIBLE = [name for name in OBJECTIVES if not OBJECTIVES[name]().indivisible]


def compare_with_whole_batch(monkeypatch, objective, batch, shards):
    """Take one step with shards and one with the whole batch; compare losses and gradients of all turns."""
    batch = Batch(batch.images.double(), batch.targets)

    def new_model():
        options = {"optimizer": SGD(0.1), "input_shape": tuple(batch.images.shape[1:]), "seed": SEED}
        if isinstance(objective, tuple):
            return Model(objective[0], loss=objective[1], precision="float64", **options)
        return Model(objective, precision="float64", **options)

    with torch.inference_mode():
        whole_model = new_model()
        whole_step, expected = step_of(whole_model, batch)
        draws = ShardDraws(monkeypatch, shards)
        draws.seed(0, len(batch.images))
        whole_step(batch, 0.1, draws.rng)

        sharded_model = new_model()
        step, actual = step_of(sharded_model, batch)
        sharded = ShardedStep(sharded_model, step, Processes(), shards, StopSignals())
        sharded([part_of(batch, shard, shards) for shard in range(shards)], 0.1, 0)
    assert_same_turns(actual, expected)
    return actual


@pytest.mark.parametrize("name", DIVISIBLE)
def test_the_shards_of_an_objective_have_the_gradients_of_the_whole_batch(monkeypatch, name):
    objective = without_statistics(OBJECTIVES[name]())
    if isinstance(objective, Zhang):
        objective = replace(objective, uniform=1.0)  # colour weights are computed from the batch
    data = Examples(objective)
    # Every fourth image of the detectors' targets has no objects; a WGAN divides a batch among its updates.
    compare_with_whole_batch(monkeypatch, objective, data.batch(range(len(data)), None), 3 if name == "wgan_gp" else 4)


@pytest.mark.parametrize("name", ["single_stage", "ssd", "yolo3", "faster_rcnn", "keypoint_rcnn"])
def test_a_batch_without_objects_is_divided(monkeypatch, name):
    objective = OBJECTIVES[name]()
    empty = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    batch = Batch(torch.rand(4, 3, 48, 64), [empty] * 4)
    compare_with_whole_batch(monkeypatch, objective, batch, 3)


CLASSES = torch.tensor([0, 1, 2, 2, 0, 1, 2])
VALUES = torch.linspace(-1, 1, 21, dtype=torch.float64).view(7, 3)
POINTS = torch.rand(7, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
POINTS[0, 0, 2] = POINTS[2::3, :, 2] = 0  # the third of three shards has no labelled points
LOSS_CASES = [
    (SoftmaxCrossEntropy(), CLASSES),
    (SoftmaxCrossEntropy(reduction="sum"), CLASSES),
    (SoftmaxCrossEntropy(class_weights=(1.0, 3.0, 0.5), ignore=1), CLASSES),
    (SoftmaxCrossEntropy(0.1, ignore=2, reduction="batch"), CLASSES),
    (SoftmaxCrossEntropy(class_weights=(1.0, 3.0, 0.5)), VALUES.softmax(1)),
    (NegativeLogLikelihood(ignore=0), CLASSES),
    (NegativeLogLikelihood(reduction="sum"), CLASSES),
    (Focal(class_weights=(1.0, 3.0, 0.5)), CLASSES),
    (Hinge(reduction="sum"), CLASSES),
    (QualityFocal(), CLASSES),
    (BinaryCrossEntropy(), VALUES.sigmoid()),
    (Quadratic(), VALUES),
    (Huber(reduction="sum"), VALUES),
    (Coordinates((8, 8)), POINTS),
]


@pytest.mark.parametrize(("loss", "targets"), LOSS_CASES, ids=lambda value: str(value)[:60])
def test_the_shards_of_a_loss_have_the_gradients_of_the_whole_batch(monkeypatch, loss, targets):
    ending = [LogSoftmax()] if isinstance(loss, NegativeLogLikelihood) else []
    net = Sequential(Flatten(), Dense(4 if isinstance(loss, Coordinates) else 3), *ending)
    compare_with_whole_batch(monkeypatch, (net, loss), Batch(torch.rand(7, 1, 8, 8), targets), 3)


def test_the_shards_of_heat_maps_have_the_gradients_of_the_whole_batch(monkeypatch):
    net = Sequential(Conv2d(2, 3, padding=1), ReLU(), Conv2d(2, 3, padding=1))
    compare_with_whole_batch(monkeypatch, (net, HeatMaps(stride=1)), Batch(torch.rand(7, 1, 8, 8), 8 * POINTS), 3)


def test_the_dice_loss_is_refused_with_shards():
    model = Model(Sequential(Flatten(), Dense(3)), loss=Dice(), optimizer=SGD(0.1))
    with pytest.raises(PellucidError, match="shards: the Dice loss is a ratio of sums over all positions of a batch"):
        model.fit(torch.rand(7, 1, 8, 8), CLASSES, epochs=1, batch_size=4, accumulate=2, verbose=False)
