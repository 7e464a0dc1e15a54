"""Classes that are missing from the masks, and classes that are never predicted."""

import pytest
import torch

from pellucid.doctor import case_of
from pellucid.doctor.checks.mask_classes import CHECK
from pellucid.layers import Conv2d
from pellucid.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.small_cases import corners, make_model

CLASSES = ("grass", "sand", "water")


def images_and_masks(max_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (24, 3, 8, 8), coloured by class, and masks with classes below `max_classes` and 9 at one pixel."""
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, max_classes, (24, 4, 4), generator=rng).repeat_interleave(2, 1).repeat_interleave(2, 2)
    x = torch.nn.functional.one_hot(y, 3).movedim(3, 1).float() * 0.8
    y[:, 0, 0] = 9
    return x, y


def trained_model(x: torch.Tensor, y: torch.Tensor, ignore: int = 9) -> Model:
    loss = SoftmaxCrossEntropy(ignore=ignore)
    model = Model(Conv2d(3, 1), loss, Adam(lr=0.1), metrics=(), input_shape=(3, 8, 8), classes=CLASSES)
    model.fit(x, y, epochs=30, batch_size=4, verbose=False)
    return model


def test_masks_of_all_classes_and_a_model_that_predicts_them_have_no_finding() -> None:
    x, y = images_and_masks()
    model = trained_model(x, y)
    assert set(model.predict(x).argmax(1).unique().tolist()) == {0, 1, 2}
    assert CHECK.find(case_of(model, x, y)) == []


def test_a_class_missing_from_the_masks_is_named() -> None:
    x, y = images_and_masks(2)
    (finding,) = CHECK.find(case_of(trained_model(x, y), x, y))
    assert finding.path == "train"
    assert finding.is_fault
    evidence = {"classes": 3, "missing": 1, "the_first_of_them": "water"}
    assert finding.evidence == evidence


@pytest.mark.parametrize(("fraction", "is_named"), [(0.5, True), (0.1, True), (0.005, False)])
@pytest.mark.parametrize("label", [255, -100])
def test_objects_with_the_ignored_label_are_named(fraction: float, label: int, is_named: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.where(torch.rand(24, 8, 8, generator=rng) < fraction, label, 0)
    model = Model(Conv2d(2, 1), SoftmaxCrossEntropy(ignore=label), metrics=(), input_shape=(1, 8, 8))
    (finding,) = CHECK.find(case_of(model, torch.rand(24, 1, 8, 8, generator=rng), y))
    assert (f"label {label}" in finding.fix) is is_named


def test_an_ignored_class_is_not_missing() -> None:
    x, y = images_and_masks()
    y[y == 9] = 0
    assert CHECK.find(case_of(trained_model(x, y, ignore=0), x, y)) == []


def test_image_labels_have_no_finding() -> None:
    model = make_model()
    assert CHECK.find(case_of(model, *corners(64))) == []


@pytest.mark.parametrize("kind", ["map", "classes"])
@pytest.mark.parametrize(
    ("rare", "share", "is_predicted", "is_found"),
    [(1, 0.02, False, True), (0, 0.02, False, True), (1, 0.02, True, False), (1, 0.3, False, False)],
)
def test_a_rare_value_that_is_never_predicted_is_found(
    kind: str, rare: int, share: float, is_predicted: bool, is_found: bool
) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.where(torch.rand(20, 12, 12, generator=rng) < share, rare, 1 - rare)
    x = y[:, None].float() if is_predicted else torch.full((20, 1, 12, 12), 1.0 - rare)
    loss, n_maps = (SoftmaxCrossEntropy(), 2) if kind == "classes" else (BinaryCrossEntropy(), 1)
    model = Model(Conv2d(n_maps, 1), loss, metrics=(), input_shape=(1, 12, 12))
    begin = lambda: Model(Conv2d(n_maps, 1), loss, metrics=(), input_shape=(1, 12, 12))  # noqa: E731
    rows = [-8.0, 8.0] if kind == "classes" else [8.0]
    model.weights["weight"].copy_(torch.tensor(rows).view(model.weights["weight"].shape))
    model.weights["bias"].copy_(torch.tensor(rows) * -0.5)
    found = CHECK.find(case_of(model, x, y if kind == "classes" else y[:, None].float(), begin=begin))
    assert [one.evidence.get("found_by_the_network") for one in found] == [0.0] * is_found


@pytest.mark.parametrize("scale", [1.0, 0.5, 1 / 255])
@pytest.mark.parametrize("is_soft", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_masks_that_are_scaled_twice_are_found(scale: float, is_soft: bool, share: float) -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.rand(20, 1, 12, 12, generator=rng) if is_soft else torch.ones(20, 1, 12, 12)
    y = scale * values * (torch.rand(20, 1, 12, 12, generator=rng) < share)
    model = Model(Conv2d(1, 1), BinaryCrossEntropy(), metrics=(), input_shape=(1, 12, 12))
    causes = [one.cause for one in CHECK.find(case_of(model, torch.rand(20, 1, 12, 12, generator=rng), y))]
    assert [cause.startswith("the largest value of the masks") for cause in causes] == [True] * (
        scale < 0.1 and share > 0
    )


@pytest.mark.parametrize(("lost", "is_found"), [({1, 2}, True), ({1}, False), (set[int](), False)])
def test_several_classes_are_found_if_none_of_them_is_predicted(lost: set[int], is_found: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    y = (torch.rand(20, 12, 12, generator=rng) < 0.02).long() + (torch.rand(20, 12, 12, generator=rng) < 0.01).long()
    x = torch.nn.functional.one_hot(y.where(~torch.isin(y, torch.tensor([*lost])), 0), 3).movedim(3, 1).float()
    model, untrained = (
        Model(Conv2d(3, 1), SoftmaxCrossEntropy(), metrics=(), input_shape=(3, 12, 12)) for _ in range(2)
    )
    model.weights["weight"].copy_(8 * torch.eye(3).view(3, 3, 1, 1))
    found = CHECK.find(case_of(model, x, y, begin=lambda: untrained))
    assert [one.cause.split(", which")[0] for one in found] == ["the network never predicts 1 and 2"] * is_found
