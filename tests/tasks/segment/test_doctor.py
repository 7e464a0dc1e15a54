"""Experiments on masks that do not fit their images, and on sound ones."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Diagnosis
from pellucid.layers import Conv2d, ReLU
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.tasks.segment.doctor import changes, scores, shifted, void
from tests.tasks.segment.test_segment import CLASSES, IGNORED, draw

SIZE = (48, 56)


def examples(count: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, masks = zip(*(draw(first + k, *SIZE) for k in range(count)), strict=True)
    return torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous(), torch.from_numpy(np.stack(masks)).long()


def examined(train: Any, validation: Any) -> Diagnosis:
    net = Sequential(
        conv1=Conv2d(8, 3, padding=1), relu1=ReLU(), conv2=Conv2d(8, 3, padding=1), relu2=ReLU(), scores=Conv2d(3, 1)
    )  # fmt: skip
    loss = SoftmaxCrossEntropy(ignore=IGNORED)
    it = Model(net, loss, Adam(lr=0.01), metrics=(), input_shape=(3, *SIZE), classes=CLASSES)
    history = it.fit(*train, epochs=8, batch_size=4, verbose=False)
    return it.doctor(*train, validation=validation, history=history, epochs=8, batch_size=4)


def moved(data: Any, down: int, right: int) -> Any:
    x, y = data
    return x, torch.stack([shifted(down, right)(mask, SIZE) for mask in y])


@pytest.mark.slow
def test_masks_shifted_by_eight_pixels_in_all_images_are_the_cause() -> None:
    found = examined(moved(examples(40, 0), 0, 8), moved(examples(20, 500), 0, 8))
    assert (found.causes[0], found.kind(0)) == ("shifted-masks", "cause")
    assert found.effects[0].does == "masks shifted by -8 pixels to the right and 0 down"
    assert found.findings[0].evidence["lowest_gain"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("change", ["shifted", "classes", "mirrored"])
def test_validation_masks_read_otherwise_are_the_cause(change: str) -> None:
    train, (x, y) = examples(40, 0), examples(40, 500)
    if change == "shifted":
        x, y = moved((x, y), 5, 0)
    elif change == "classes":
        y = torch.where(y < 3, (y + 1) % 3, y)
    else:
        y = y.flip(2)
    found = examined(train, (x, y))
    name = {"shifted": "shifted-masks", "classes": "class-order", "mirrored": "mirrored-masks"}[change]
    assert (found.causes[0], found.kind(0), found.findings[0].path) == (name, "cause", "validation")


@pytest.mark.slow
def test_masks_of_other_images_are_unpaired() -> None:
    x, y = examples(40, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    found = examined((x, y[order]), examples(48, 500))
    assert (found.causes[0], found.kind(0), found.findings[0].path) == ("unpaired-targets", "cause", "train")


@pytest.mark.slow
def test_objects_that_annotators_left_out_are_a_mixed_class() -> None:
    x, y = examples(40, 0)
    background = torch.where(torch.arange(40)[:, None, None] % 4 > 0, torch.zeros_like(y), y)  # in three of four images
    found = examined((x, background), examples(48, 500))
    assert (found.causes[0], found.kind(0)) == ("mixed-class", "cause")
    assert "class 0" in found.findings[0].cause


@pytest.mark.slow
def test_sound_masks_have_no_cause() -> None:
    found = examined(examples(40, 0), examples(20, 500))
    assert found.causes == ()
    assert all(effect.verdict == "no effect" for effect in found.effects)


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("mirrored", lambda mask: mask.flip(1)),
        ("with rows and columns exchanged", lambda mask: mask.T),
        ("turned to the left", lambda mask: mask.rot90()),
    ],
)
def test_outputs_show_how_masks_are_turned(name: str, turn: Callable[[torch.Tensor], torch.Tensor]) -> None:
    masks = torch.zeros(6, 24, 24, dtype=torch.int64)
    for k in range(6):
        masks[k, 3 : 8 + k, 12:20] = 1
    outputs = [torch.nn.functional.one_hot(turn(mask), 2).movedim(2, 0).float() for mask in masks]
    found = {change.does: change for change in changes([torch.zeros(3, 24, 24)] * 6, [*masks], outputs, None)}
    torch.testing.assert_close(found[f"masks {name}"].apply(masks[0], (24, 24)), turn(masks[0]))


def test_the_score_of_an_image_is_the_mean_iou_of_its_classes() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 3]])
    output = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0, 1], [0, 0, 1, 2]]), 3).movedim(2, 0).float()
    assert scores([output], [mask], 3).values.tolist() == pytest.approx([(4 / 5 + 2 / 3) / 2])


def test_averages_of_labels_between_two_classes_are_undone() -> None:
    mask = torch.zeros(16, 16, dtype=torch.int64)
    mask[4:12, 4:12] = 4
    averaged = mask.clone()
    averaged[3, 4:12] = averaged[12, 4:12] = averaged[4:12, 3] = averaged[4:12, 12] = 2
    (change,) = changes([torch.zeros(3, 16, 16)] * 3, [averaged] * 3, None, None)
    assert change.name == "interpolated-masks"
    assert sorted(change.apply(averaged, (16, 16)).unique().tolist()) == [0, 4]
    assert changes([torch.zeros(3, 16, 16)] * 3, [mask] * 3, None, None) == []


def test_a_label_that_is_a_class_counts_although_the_loss_ignores_it() -> None:
    net = Sequential(scores=Conv2d(3, 1))
    for ignore, expected in ((255, 255), (0, None), (None, None)):
        model = Model(net, SoftmaxCrossEntropy(ignore=ignore), input_shape=(3, 8, 8), metrics=())
        assert void(model) == expected
