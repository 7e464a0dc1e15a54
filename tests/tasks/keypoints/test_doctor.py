"""Experiments on key-points in wrong units, axes and orders, and on correct ones."""

from typing import Any

import numpy as np
import pytest
import torch

from pellucid.doctor import Diagnosis
from pellucid.losses import HeatMaps
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.tasks.keypoints.doctor import scores
from tests.tasks.keypoints.drawn import draw
from tests.tasks.keypoints.test_keypoints import network


def examples(count: int, first_seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, points = zip(*(draw(first_seed + k) for k in range(count)), strict=True)
    visible = torch.full((count, 3, 1), 2.0)
    y = torch.cat([torch.tensor(np.stack(points)).float(), visible], 2)
    return torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous(), y


def train_and_diagnose(train: Any, validation: Any) -> Diagnosis:
    model = Model(network(), HeatMaps(stride=1), Adam(lr=0.02), metrics=(), input_shape=(3, 24, 24))
    history = model.fit(*train, epochs=10, batch_size=8, verbose=False)
    return model.doctor(*train, validation=validation, history=history, epochs=10, batch_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["scaled", "exchanged", "axes"])
def test_changed_validation_points_are_the_cause(change: str) -> None:
    train, (x, y) = examples(64, 0), examples(48, 500)
    if change == "scaled":
        y = y * torch.tensor([2.0, 2.0, 1.0])
    elif change == "exchanged":
        y = y[:, [1, 0, 2]]
    else:
        y = y[:, :, [1, 0, 2]]
    diagnosis = train_and_diagnose(train, (x, y))
    name = {"scaled": "key-point-scale", "exchanged": "key-point-order", "axes": "key-point-axes"}[change]
    assert (diagnosis.causes[0], diagnosis.kind(0)) == (name, "cause")
    assert diagnosis.findings[0].evidence["score_without_it"] > 0.8


@pytest.mark.heavy
@pytest.mark.slow
def test_points_for_images_of_twice_the_size_are_the_cause() -> None:
    def doubled(data: Any) -> Any:
        return data[0], data[1] * torch.tensor([2.0, 2.0, 1.0])

    diagnosis = train_and_diagnose(doubled(examples(64, 0)), doubled(examples(48, 500)))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("key-point-scale", "cause")


@pytest.mark.slow
def test_unseen_points_at_one_position_are_the_cause() -> None:
    x, y = examples(64, 0)
    unseen = torch.rand(64, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    y[..., :2] = y[..., :2].masked_fill(unseen[..., None], 0.0)
    diagnosis = train_and_diagnose((x, y), examples(48, 500))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("unseen-points", "cause")
    assert "at 0, 0" in diagnosis.findings[0].cause


@pytest.mark.slow
def test_correct_key_points_have_no_cause() -> None:
    assert train_and_diagnose(examples(64, 0), examples(48, 500)).causes == ()


def test_score_of_an_image_decreases_with_the_distance_of_labelled_points() -> None:
    target = torch.tensor([[0.0, 0.0, 2.0], [30.0, 40.0, 1.0], [0.0, 0.0, 0.0]])  # a diagonal of 50 pixels
    output = target.clone()
    output[0, 0] = 5.0  # of 12.5 pixels, a quarter of the diagonal: 0.6
    output[2] = 99.0  # not labelled
    assert scores([output], [target]).values.tolist() == pytest.approx([(0.6 + 1) / 2])
