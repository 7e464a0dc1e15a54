"""Inputs in which nothing varies."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.constant_inputs import CHECK
from pellucid.layers import Dense, Flatten
from tests.doctor.examined import model


def case(x: torch.Tensor, held: torch.Tensor | None = None) -> Case:
    it = model(Sequential(Flatten(), Dense(2)), input_shape=tuple(x.shape[1:]))
    y = torch.arange(len(x)) % 2
    return case_of(it, x, y, validation=None if held is None else (held, torch.arange(len(held)) % 2))


def noise(n: int = 120, channels: int = 1) -> torch.Tensor:
    return torch.rand(n, channels, 10, 10, generator=torch.Generator().manual_seed(0))


def test_noise_has_no_finding() -> None:
    assert CHECK.look(case(noise(), noise(30))) == []


def test_all_black_is_one_finding_for_each_part() -> None:
    train, held = CHECK.look(case(torch.zeros(20, 1, 10, 10), torch.zeros(5, 1, 10, 10)))
    assert (train.path, held.path) == ("train", "validation")
    assert (train.evidence["values_of_an_input"], train.evidence["that_never_vary"]) == (100, 100)


def test_blank_pictures_are_counted_and_left_out_by_the_remedy() -> None:
    x = noise()
    x[10:22] = torch.linspace(0, 1, 12)[:, None, None, None]  # each of one grey
    it = case(x)
    (found,) = CHECK.look(it)
    assert (found.path, found.evidence["blank_examples"], found.evidence["share"]) == ("train", 12, 0.1)
    assert found.remedy is not None
    assert torch.equal(found.remedy.apply(it).train.x, torch.cat([x[:10], x[22:]]))


def test_a_few_blank_pictures_are_no_fault() -> None:
    x = noise()
    x[:3] = 0
    assert CHECK.look(case(x)) == []


def test_a_lost_channel_is_found() -> None:
    x = noise(channels=3)
    x[:, 1] = 0.5
    (found,) = CHECK.look(case(x))
    assert (found.evidence["channels"], found.evidence["that_never_vary"]) == (3, 1)


def test_half_a_picture_masked_is_a_fault_and_a_border_is_none() -> None:
    masked, bordered = noise(), noise()
    masked[..., 5:] = 0
    bordered[..., :1], bordered[..., -1:], bordered[..., :1, :], bordered[..., -1:, :] = 0, 0, 0, 0
    (found,) = CHECK.look(case(masked))
    assert (found.evidence["that_never_vary"], found.evidence["share"]) == (50, 0.5)
    assert CHECK.look(case(bordered)) == []  # 36 of 100


def test_vectors_bytes_and_single_examples_are_taken() -> None:
    assert CHECK.look(case(torch.rand(50, 20, generator=torch.Generator().manual_seed(0))[:, :, None, None])) == []
    assert CHECK.look(case((noise() * 255).byte())) == []
    assert CHECK.look(case(noise(1))) == []
