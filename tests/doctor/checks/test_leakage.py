"""Validation examples among the training examples."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.leakage import CHECK
from pellucid.layers import Dense, Flatten
from tests.doctor.examined import model


def pictures(n: int, seed: int) -> torch.Tensor:
    """Soft random pictures."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")


def case(train: torch.Tensor, held: torch.Tensor) -> Case:
    it = model(Sequential(Flatten(), Dense(2)), input_shape=tuple(train.shape[1:]))
    return case_of(it, train, torch.arange(len(train)) % 2, validation=(held, torch.arange(len(held)) % 2))


TRAIN, HELD = pictures(300, 0), pictures(150, 1)


def test_parts_that_have_nothing_in_common_have_no_finding() -> None:
    assert CHECK.look(case(TRAIN, HELD)) == []


def test_copies_are_counted_and_taken_out_by_the_remedy() -> None:
    it = case(TRAIN, torch.cat([HELD, TRAIN[40:50]]))
    (found,) = CHECK.look(it)
    assert (found.path, found.evidence["that_are_training_examples"]) == ("validation", 10)
    assert found.evidence["share"] == 10 / 160
    assert found.remedy is not None
    mended = found.remedy.apply(it)
    assert mended.validation is not None
    assert torch.equal(mended.validation.x, HELD)


def test_bytes_and_floats_of_one_picture_are_copies() -> None:
    train = (TRAIN * 255).byte()
    (found,) = CHECK.look(case(train, torch.cat([HELD, train[:20].float() / 255])))
    assert found.evidence["that_are_training_examples"] == 20


def test_two_copies_are_no_fault() -> None:
    assert CHECK.look(case(TRAIN, torch.cat([HELD, TRAIN[:2]]))) == []


@pytest.mark.parametrize("kind", ["darker", "noisy", "moved"])
def test_changed_copies_are_found(kind: str) -> None:
    noise = 0.02 * torch.randn(50, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    source = TRAIN[100:150]
    changed = {"darker": source * 0.7 + 0.1, "noisy": source + noise, "moved": source.roll(1, 3)}[kind]
    (found,) = CHECK.look(case(TRAIN, torch.cat([changed, HELD])))
    assert int(found.evidence["nearly_training_examples"]) == pytest.approx(50, abs=6)
    place, origin = int(found.evidence["for_example_validation"]), int(found.evidence["and_train"])
    assert origin == 100 + place


def test_no_validation_few_pictures_and_few_features_are_skipped() -> None:
    assert CHECK.look(case_of(case(TRAIN, HELD).model, TRAIN, torch.arange(300) % 2)) == []
    assert CHECK.look(case(TRAIN[:10], TRAIN[:2] * 0.9)) == []
    bits = torch.randint(0, 2, (100, 4, 1, 1), generator=torch.Generator().manual_seed(0)).float()
    assert CHECK.look(case(bits[:60], bits[60:])) == []


def test_rare_classes_which_lie_by_themselves_are_no_copies() -> None:
    middle = pictures(10, 3)
    rng = torch.Generator().manual_seed(4)
    y, held_y = torch.cat([torch.zeros(280).long(), torch.arange(1, 10).repeat(2)]), torch.arange(10).repeat(15)
    train = torch.cat([pictures(280, 5), middle[y[280:]] + 0.05 * torch.rand(18, 1, 16, 16, generator=rng)])
    held = middle[held_y] + 0.05 * torch.rand(150, 1, 16, 16, generator=rng)
    it = model(Sequential(Flatten(), Dense(10)), input_shape=(1, 16, 16))
    assert CHECK.look(case_of(it, train, y, validation=(held, held_y))) == []
