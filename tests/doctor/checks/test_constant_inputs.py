"""Inputs with constant values: blank images, constant channels and regions."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks import constant_inputs
from pellucid.doctor.checks.constant_inputs import CHECK
from pellucid.layers import Dense, Flatten
from pellucid.losses import BinaryCrossEntropy
from tests.doctor.small_cases import make_model


def make_case(x: torch.Tensor, held_out: torch.Tensor | None = None) -> Case:
    model = make_model(Sequential(Flatten(), Dense(2)), input_shape=tuple(x.shape[1:]))
    y = torch.arange(len(x)) % 2
    return case_of(model, x, y, validation=None if held_out is None else (held_out, torch.arange(len(held_out)) % 2))


def noise(n: int = 120, channels: int = 1) -> torch.Tensor:
    return torch.rand(n, channels, 10, 10, generator=torch.Generator().manual_seed(0))


def test_noise_has_no_finding() -> None:
    assert CHECK.find(make_case(noise(), noise(30))) == []


def test_black_images_have_one_finding_for_each_part() -> None:
    train_finding, validation_finding = CHECK.find(make_case(torch.zeros(20, 1, 10, 10), torch.zeros(5, 1, 10, 10)))
    assert (train_finding.path, validation_finding.path) == ("train", "validation")
    assert (train_finding.evidence["values_of_an_input"], train_finding.evidence["that_never_vary"]) == (100, 100)


def test_blank_images_are_counted_and_removed_by_the_remedy() -> None:
    x = noise()
    x[10:22] = torch.linspace(0, 1, 12)[:, None, None, None]  # each image has one grey
    case = make_case(x)
    (finding,) = CHECK.find(case)
    assert (finding.path, finding.evidence["blank_examples"], finding.evidence["share"]) == ("train", 12, 0.1)
    assert finding.remedy is not None
    assert torch.equal(finding.remedy.apply(case).train.x, torch.cat([x[:10], x[22:]]))


def test_a_few_blank_images_have_no_finding() -> None:
    x = noise()
    x[:3] = 0
    assert CHECK.find(make_case(x)) == []


def test_a_lost_channel_is_found() -> None:
    x = noise(channels=3)
    x[:, 1] = 0.5
    (finding,) = CHECK.find(make_case(x))
    assert (finding.evidence["channels"], finding.evidence["that_never_vary"]) == (3, 1)


def test_vectors_bytes_and_single_examples_have_no_finding() -> None:
    assert CHECK.find(make_case(torch.rand(50, 20, generator=torch.Generator().manual_seed(0))[:, :, None, None])) == []
    assert CHECK.find(make_case((noise() * 255).byte())) == []
    assert CHECK.find(make_case(noise(1))) == []


@pytest.mark.parametrize("n_labels", [2, 10])
@pytest.mark.parametrize(("blank_targets", "n_found"), [(0.0, 0), (1.0, 1)])
def test_blank_images_whose_targets_are_all_0_show_no_object(n_labels: int, blank_targets: float, n_found: int) -> None:
    x = noise()
    x[:50] = 0
    y = (torch.arange(120)[:, None] % n_labels == torch.arange(n_labels)).float()
    y[:50] *= blank_targets
    model = make_model(Sequential(Flatten(), Dense(n_labels)), loss=BinaryCrossEntropy(), input_shape=(1, 10, 10))
    assert len(CHECK.find(case_of(model, x, y))) == n_found


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float32])
def test_targets_of_every_type_of_number_are_read(dtype: torch.dtype) -> None:
    x = noise()
    x[:50] = 0
    y = torch.ones(120, 1, 10, 10).to(dtype)
    finding = constant_inputs._constant_finding("train", Arrays(x, y))
    assert finding is not None
    assert constant_inputs._constant_finding("train", Arrays(x, 0 * y if dtype != torch.bool else ~y)) is None
