"""Experiments on masks that do not fit their images, and on correct ones."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Diagnosis
from pellucid.layers import Conv2d, ReLU
from pellucid.losses import BinaryCrossEntropy, Huber, Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.task.registered import task_of
from pellucid.tasks.segment.doctor import ignored_label, scores, shift_by, target_changes
from tests.tasks.segment.test_segment import CLASSES, IGNORED, draw

SIZE = (48, 56)


def examples(count: int, first_seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, masks = zip(*(draw(first_seed + k, *SIZE) for k in range(count)), strict=True)
    return torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous(), torch.from_numpy(np.stack(masks)).long()


def train_and_diagnose(train: Any, validation: Any) -> Diagnosis:
    net = Sequential(
        conv1=Conv2d(8, 3, padding=1), relu1=ReLU(), conv2=Conv2d(8, 3, padding=1), relu2=ReLU(), scores=Conv2d(3, 1)
    )  # fmt: skip
    loss = SoftmaxCrossEntropy(ignore=IGNORED)
    model = Model(net, loss, Adam(lr=0.01), metrics=(), input_shape=(3, *SIZE), classes=CLASSES)
    history = model.fit(*train, epochs=8, batch_size=4, verbose=False)
    return model.doctor(*train, validation=validation, history=history, epochs=8, batch_size=4)


def shift_masks(data: Any, down: int, right: int) -> Any:
    x, y = data
    return x, torch.stack([shift_by(down, right)(mask, SIZE) for mask in y])


@pytest.mark.slow
def test_masks_shifted_by_eight_pixels_in_all_images_are_the_cause() -> None:
    diagnosis = train_and_diagnose(shift_masks(examples(40, 0), 0, 8), shift_masks(examples(20, 500), 0, 8))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("shifted-masks", "cause")
    assert diagnosis.intervention_effects[0].description == "masks shifted by 8 pixels to the left and 0 down"
    assert diagnosis.findings[0].evidence["lowest_gain"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("change", ["shifted", "classes", "mirrored"])
def test_changed_validation_masks_are_the_cause(change: str) -> None:
    train, (x, y) = examples(40, 0), examples(40, 500)
    if change == "shifted":
        x, y = shift_masks((x, y), 5, 0)
    elif change == "classes":
        y = torch.where(y < 3, (y + 1) % 3, y)
    else:
        y = y.flip(2)
    diagnosis = train_and_diagnose(train, (x, y))
    name = {"shifted": "shifted-masks", "classes": "class-order", "mirrored": "mirrored-masks"}[change]
    assert (diagnosis.causes[0], diagnosis.kind(0), diagnosis.findings[0].path) == (name, "cause", "validation")


@pytest.mark.slow
def test_masks_of_other_images_are_unpaired() -> None:
    x, y = examples(40, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    diagnosis = train_and_diagnose((x, y[order]), examples(48, 500))
    assert (diagnosis.causes[0], diagnosis.kind(0), diagnosis.findings[0].path) == (
        "unpaired-targets",
        "cause",
        "train",
    )


@pytest.mark.slow
def test_unannotated_objects_are_a_mixed_class() -> None:
    x, y = examples(40, 0)
    is_missing = (torch.arange(40)[:, None, None] % 4 > 0) & (y < IGNORED) & (torch.rand(y.shape) > 0.01)
    diagnosis = train_and_diagnose((x, y.masked_fill(is_missing, 0)), examples(48, 500))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("mixed-class", "cause")
    assert "class 0" in diagnosis.findings[0].cause


@pytest.mark.slow
def test_images_without_annotations_are_the_cause() -> None:
    x, y = examples(40, 0)
    empty = torch.where(torch.arange(40)[:, None, None] % 4 > 0, torch.zeros_like(y), y)
    diagnosis = train_and_diagnose((x, empty), examples(48, 500))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("unusual-examples", "cause")
    assert diagnosis.findings[0].cause.startswith("75% of the training examples are of one kind (masks of a single cla")


@pytest.mark.slow
def test_correct_masks_have_no_cause() -> None:
    diagnosis = train_and_diagnose(examples(40, 0), examples(20, 500))
    assert diagnosis.causes == ()
    assert all(effect.verdict == "no effect" for effect in diagnosis.intervention_effects)


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("mirrored", lambda mask: mask.flip(1)),
        ("with rows and columns exchanged", lambda mask: mask.T),
        ("turned to the left", lambda mask: mask.rot90()),
    ],
)
def test_outputs_in_another_orientation_suggest_turned_masks(
    name: str, turn: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    masks = torch.zeros(6, 24, 24, dtype=torch.int64)
    for k in range(6):
        masks[k, 3 : 8 + k, 12:20] = 1
    outputs = [torch.nn.functional.one_hot(turn(mask), 2).movedim(2, 0).float() for mask in masks]
    changes_by_name = {
        change.description: change for change in target_changes([torch.zeros(3, 24, 24)] * 6, [*masks], outputs, None)
    }
    torch.testing.assert_close(changes_by_name[f"masks {name}"].apply(masks[0], (24, 24)), turn(masks[0]))


@pytest.mark.parametrize("loss", [Quadratic(), Huber(), BinaryCrossEntropy()], ids=repr)
@pytest.mark.parametrize("count", [2, 3])
def test_maps_of_values_are_no_masks(loss: Loss, count: int) -> None:
    """As heat maps of key-points, one map each, by a network that could be a segmenter."""
    x, masks = examples(24, 0)
    maps = torch.stack([(masks == label).float() for label in range(count)], 1)
    net = Sequential(conv1=Conv2d(8, 3, padding=1), relu1=ReLU(), scores=Conv2d(count, 1))
    model = Model(net, loss, Adam(lr=0.01), metrics=(), input_shape=(3, *SIZE))
    assert task_of(model).name == "segmentation"
    history = model.fit(x, maps, epochs=3, batch_size=4, verbose=False)
    options = {"history": history, "epochs": 3, "batch_size": 4}
    diagnosis = model.doctor(x, maps, validation=(x[:16], maps[:16].flip(1)), **options)
    assert not {"shifted-masks", "mixed-class"} & {*diagnosis.names}


def test_the_score_of_an_image_is_the_mean_iou_of_its_classes() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 3]])
    output = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0, 1], [0, 0, 1, 2]]), 3).movedim(2, 0).float()
    assert scores([output], [mask], 3).values.tolist() == pytest.approx([(4 / 5 + 2 / 3) / 2])


def test_ignored_label_is_none_for_a_class_of_the_model() -> None:
    net = Sequential(scores=Conv2d(3, 1))
    for ignore, expected in ((255, 255), (0, None), (None, None)):
        model = Model(net, SoftmaxCrossEntropy(ignore=ignore), input_shape=(3, 8, 8), metrics=())
        assert ignored_label(model) == expected
