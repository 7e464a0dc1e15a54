"""Classes that masks lack, and classes that are predicted nowhere."""

import torch

from pellucid.doctor import case_of
from pellucid.doctor.checks.mask_classes import CHECK
from pellucid.layers import Conv2d
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.examined import corners, model

CLASSES = ("grass", "sand", "water")


def masks(most: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw masks of up to `most` classes, 9 where there is none, and images that show them by colour."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, most, (24, 4, 4), generator=rng).repeat_interleave(2, 1).repeat_interleave(2, 2)
    x = torch.nn.functional.one_hot(y, 3).movedim(3, 1).float() * 0.8
    y[:, 0, 0] = 9
    return x, y


def trained(x: torch.Tensor, y: torch.Tensor, ignore: int = 9) -> Model:
    loss = SoftmaxCrossEntropy(ignore=ignore)
    it = Model(Conv2d(3, 1), loss, Adam(lr=0.1), metrics=(), input_shape=(3, 8, 8), classes=CLASSES)
    it.fit(x, y, epochs=30, batch_size=4, verbose=False)
    return it


def test_masks_of_all_classes_and_a_model_that_predicts_them_have_no_finding() -> None:
    x, y = masks()
    it = trained(x, y)
    assert set(it.predict(x).argmax(1).unique().tolist()) == {0, 1, 2}
    assert CHECK.look(case_of(it, x, y)) == []


def test_a_class_missing_from_the_masks_is_named() -> None:
    x, y = masks(2)
    (found,) = CHECK.look(case_of(trained(x, y), x, y))
    assert found.path == "train"
    assert found.direct
    assert found.evidence == {"classes": 3, "missing": 1, "the_first_of_them": "water"}


def test_an_ignored_class_is_not_missing() -> None:
    x, y = masks()
    y[y == 9] = 0
    assert CHECK.look(case_of(trained(x, y, ignore=0), x, y)) == []


def test_a_class_that_is_predicted_nowhere_is_named() -> None:
    x, y = masks()
    it = trained(x, y)
    it.weights["bias"][1] -= 100
    (found,) = CHECK.look(case_of(it, x, y))
    assert (found.path, found.evidence["the_first_of_them"], found.evidence["missing"]) == ("training", "sand", 1)
    kept = y != 9
    assert abs(found.evidence["share_of_the_pixels"] - ((y == 1) & kept).sum().item() / kept.sum().item()) < 0.05


def test_classes_of_images_are_no_masks() -> None:
    it = model()
    assert CHECK.look(case_of(it, *corners(64))) == []
