"""Faults of data that a comparison of the parts, or changed pictures, show."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import Augment, float_images, load
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks import confused_labels, leakage, shortcut_exposure, tiny_deviation
from pellucid.doctor.suspects import settings
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.test_trials import digits, net, taught

DATA = load("digits")


def relabelled(which: torch.Tensor) -> Case:
    """900 digits; 45 % of those of each class have the label that `which` says. The others are for validation."""
    y = DATA.train.y[:900].clone()
    for label in range(10):
        members = (y == label).nonzero().flatten() if which[label] != label else torch.zeros(0, dtype=torch.long)
        y[members[: int(0.45 * len(members))]] = -1 - which[label]
    y = torch.where(y < 0, -1 - y, y)
    return case_of(Model(net(), input_shape=(1, 8, 8)), DATA.train.x[:900], y, validation=others())


def others() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([DATA.train.x[900:], DATA.test.x]), torch.cat([DATA.train.y[900:], DATA.test.y])


def test_a_class_that_is_partly_labelled_as_another_one() -> None:
    (found,) = confused_labels.CHECK.look(relabelled(torch.tensor([0, 1, 2, 3, 9, 5, 6, 7, 8, 9])))
    assert found.evidence["which"] == "4 labelled 9"
    assert not confused_labels.CHECK.look(relabelled(torch.arange(10)))


def test_two_collections_with_other_numbers_of_classes() -> None:
    (found,) = confused_labels.CHECK.look(relabelled(torch.arange(10).roll(1)))
    assert found.evidence["classes_with_another_one's_examples"] == 10
    assert "merged" in found.cause


def test_wrong_labels_at_random_are_not_confused_classes() -> None:
    rng = torch.Generator().manual_seed(0)
    y = DATA.train.y[:900]
    y = torch.where(torch.rand(900, generator=rng) < 0.2, torch.randint(0, 10, (900,), generator=rng), y)
    case = case_of(Model(net(), input_shape=(1, 8, 8)), DATA.train.x[:900], y, validation=others())
    assert not confused_labels.CHECK.look(case)


def lit(x: torch.Tensor, brightness: torch.Tensor) -> torch.Tensor:
    return 0.5 * float_images(x) + 0.5 * brightness[:, None, None, None]


def exposed(by_class: bool) -> Case:
    """Even and odd digits, of which the odd ones are brighter, or any."""
    rng = torch.Generator().manual_seed(0)
    parts = []
    for part in (DATA.train, DATA.test):
        y = part.y.long() % 2
        light = (y if by_class else torch.randint(0, 2, y.shape, generator=rng)) * 0.3
        parts.append((lit(part.x, light + 0.05 * torch.rand(len(y), generator=rng)), y))
    it = Model(Sequential(Flatten(), Dense(32), ReLU(), Dense(2)), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    it.fit(*parts[0], epochs=6, verbose=False)
    return case_of(it, *parts[0], validation=parts[1], epochs=6)


def test_brightness_that_gives_the_class_away() -> None:
    (found,) = shortcut_exposure.CHECK.look(exposed(by_class=True))
    assert float(found.evidence["answers_that_follow_another_picture's_exposure"]) > 0.5
    assert not shortcut_exposure.CHECK.look(exposed(by_class=False))


def standardised(floor: float) -> Case:
    """Digits of which each pixel is divided by its own deviation, or by `floor` where that is less."""
    x, y, (other, labels) = digits()
    x, other = float_images(x), float_images(other)
    x[:, :, 0, 0] = 0.0
    other[:5, :, 0, 0] = 0.1  # a pixel that is black in all training pictures
    mean, std = x.mean(0), x.std(0).clamp_min(floor)
    it = Model(net(), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    it.fit((x - mean) / std, y, epochs=4, verbose=False)
    return case_of(it, (x - mean) / std, y, validation=((other - mean) / std, labels), epochs=4)


@pytest.mark.slow
def test_pixels_that_were_divided_by_almost_nothing() -> None:
    (found,) = tiny_deviation.CHECK.look(standardised(1e-7))
    assert float(found.evidence["validation_examples_with_such_values"]) >= 5
    assert "preprocessing-mismatch" not in diagnose(standardised(1e-7)).causes
    assert not tiny_deviation.CHECK.look(standardised(0.05))


def scenes(split: bool) -> Case:
    """Six noisy views of each of 120 pictures; split: the views of a picture lie in one part."""
    rng = torch.Generator().manual_seed(0)
    pictures = torch.rand(120, 1, 12, 12, generator=rng)
    x = pictures.repeat_interleave(6, 0) + 0.05 * torch.randn(720, 1, 12, 12, generator=rng)
    y = (torch.arange(120) % 3).repeat_interleave(6)
    order = torch.arange(720) if split else torch.randperm(720, generator=rng)
    train, held = order[:540], order[540:]
    it = Model(Sequential(Flatten(), Dense(3)), input_shape=(1, 12, 12))
    return case_of(it, x[train], y[train], validation=(x[held], y[held]))


def test_views_of_one_scene_in_both_parts() -> None:
    (found,) = leakage.CHECK.look(scenes(split=False))
    assert float(found.evidence["share_that_is_far_nearer_to_one_than_to_most"]) > 0.9
    assert not leakage.CHECK.look(scenes(split=True))


def test_mirroring_is_odd_where_mirrored_pictures_look_otherwise() -> None:
    case = taught(augment=Augment(flip=True), epochs=4)
    mirror, _ = settings.augment(case)
    assert mirror.unusual
    both = torch.cat([DATA.train.x, DATA.train.x.flip(3)])  # where either side comes up
    it = Model(net(), input_shape=(1, 8, 8))
    mirror, _ = settings.augment(case_of(it, both, DATA.train.y.repeat(2), augment=Augment(flip=True)))
    assert not mirror.unusual
