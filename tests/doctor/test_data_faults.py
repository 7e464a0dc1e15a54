"""Faults of data that are found by comparing the parts or by changing images."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import Augment, float_images, load
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks import confused_labels, leakage
from pellucid.doctor.suspects import settings
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from tests.doctor.test_failing_trainings import make_net, trained_case

DATA = load("digits")


def case_of_confused_labels(new_labels: torch.Tensor) -> Case:
    """Return 900 digits, of which 45 % of each class k have the label new_labels[k]; the others are validation data."""
    y = DATA.train.y[:900].clone()
    for label in range(10):
        members = (y == label).nonzero().flatten() if new_labels[label] != label else torch.zeros(0, dtype=torch.long)
        y[members[: int(0.45 * len(members))]] = -1 - new_labels[label]
    y = torch.where(y < 0, -1 - y, y)
    return case_of(Model(make_net(), input_shape=(1, 8, 8)), DATA.train.x[:900], y, validation=validation_digits())


def validation_digits() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([DATA.train.x[900:], DATA.test.x]), torch.cat([DATA.train.y[900:], DATA.test.y])


def test_a_class_partly_labelled_as_another_is_found() -> None:
    (finding,) = confused_labels.CHECK.find(case_of_confused_labels(torch.tensor([0, 1, 2, 3, 9, 5, 6, 7, 8, 9])))
    assert finding.evidence["which"] == "4 labelled 9"
    assert not confused_labels.CHECK.find(case_of_confused_labels(torch.arange(10)))


def test_merged_data_with_other_class_indices_are_found() -> None:
    (finding,) = confused_labels.CHECK.find(case_of_confused_labels(torch.arange(10).roll(1)))
    assert finding.evidence["classes_with_another_one's_examples"] == 10
    assert "merged" in finding.cause


def test_wrong_labels_at_random_are_not_confused_classes() -> None:
    rng = torch.Generator().manual_seed(0)
    y = DATA.train.y[:900]
    y = torch.where(torch.rand(900, generator=rng) < 0.2, torch.randint(0, 10, (900,), generator=rng), y)
    case = case_of(Model(make_net(), input_shape=(1, 8, 8)), DATA.train.x[:900], y, validation=validation_digits())
    assert not confused_labels.CHECK.find(case)


ALPHABETICAL = torch.tensor([9, 4, 8, 7, 2, 1, 6, 5, 0, 3])  # the places of zero to nine in an alphabetical list
ROTATED = torch.arange(10).roll(3)


@pytest.mark.parametrize(("new_labels", "fraction", "is_merged"), [
    (ALPHABETICAL, 0.5, True), (ALPHABETICAL, 0.4, True), (ROTATED, 0.5, True), (torch.arange(10), 0.5, False),
    (None, 0.3, False),
])  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_validation_examples_show_that_most_classes_have_other_numbers(
    new_labels: torch.Tensor | None, fraction: float, is_merged: bool, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(DATA.train.x), generator=rng)
    x, y = float_images(DATA.train.x[order]), DATA.train.y[order]
    x = x + 0.25 * torch.randn(x.shape, generator=rng)  # so that the simple classifier is wrong now and then
    relabelled = torch.randint(0, 10, y.shape, generator=rng) if new_labels is None else new_labels[y]
    train_y = torch.where(torch.rand(len(y), generator=rng) < fraction, relabelled, y)[:700]
    case = case_of(Model(make_net(), input_shape=(1, 8, 8)), x[:700], train_y, validation=(x[700:920], y[700:920]))
    found = confused_labels.CHECK.find(case)
    assert ["merged" in finding.cause for finding in found] == [True] * is_merged


def with_brightness(x: torch.Tensor, brightness: torch.Tensor) -> torch.Tensor:
    return 0.5 * float_images(x) + 0.5 * brightness[:, None, None, None]


def case_of_scenes(split: bool) -> Case:
    """Return a case of six noisy views of each of 120 images; `split`: all views of an image are in one part."""
    rng = torch.Generator().manual_seed(0)
    pictures = torch.rand(120, 1, 12, 12, generator=rng)
    x = pictures.repeat_interleave(6, 0) + 0.05 * torch.randn(720, 1, 12, 12, generator=rng)
    y = (torch.arange(120) % 3).repeat_interleave(6)
    order = torch.arange(720) if split else torch.randperm(720, generator=rng)
    train, held_out = order[:540], order[540:]
    model = Model(Sequential(Flatten(), Dense(3)), input_shape=(1, 12, 12))
    return case_of(model, x[train], y[train], validation=(x[held_out], y[held_out]))


def test_views_of_one_scene_in_both_parts_are_found() -> None:
    (finding,) = leakage.CHECK.find(case_of_scenes(split=False))
    assert float(finding.evidence["share_that_is_far_nearer_to_one_than_to_most"]) > 0.9
    assert not leakage.CHECK.find(case_of_scenes(split=True))


def test_mirroring_is_unusual_if_mirrored_images_are_not_recognized() -> None:
    case = trained_case(augment=Augment(flip=True), epochs=4)
    mirroring, _ = settings.augment_suspects(case)
    assert mirroring.unusual
    images_of_both_sides = torch.cat([DATA.train.x, DATA.train.x.flip(3)])  # mirrored digits occur
    model = Model(make_net(), input_shape=(1, 8, 8))
    mirroring, _ = settings.augment_suspects(
        case_of(model, images_of_both_sides, DATA.train.y.repeat(2), augment=Augment(flip=True))
    )
    assert not mirroring.unusual
