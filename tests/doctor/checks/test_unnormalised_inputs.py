"""Inputs and targets with unusual scales: offsets, and channels or features of different scales."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.unnormalised_inputs import CHECK
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten
from tests.doctor.small_cases import make_model


def make_case(x: torch.Tensor, **options: object) -> Case:
    model = make_model(Sequential(flatten=Flatten(), out=Dense(4)), input_shape=tuple(x.shape[1:]), **options)
    return case_of(model, x, torch.arange(len(x)) % 4)


def uniform_images(low: float = 0.0, high: float = 1.0, channels: int = 1) -> torch.Tensor:
    return low + (high - low) * torch.rand(60, channels, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (-2.0, 2.0), (0, 0.2), (0.7, 1.0)])
def test_usual_ranges_have_no_finding(low: float, high: float) -> None:
    assert CHECK.find(make_case(uniform_images(low, high))) == []


def test_bytes_are_read_from_0_to_1() -> None:
    assert CHECK.find(make_case((uniform_images() * 255).byte())) == []


@pytest.mark.parametrize("high", [255.0, 16.0, 1 / 255])
def test_other_scales_are_found_with_their_moments(high: float) -> None:
    x = uniform_images(0, high)
    (finding,) = CHECK.find(make_case(x))
    assert finding.path == "train"
    assert finding.evidence["mean"] == pytest.approx(float(x.mean()), rel=1e-5)
    assert finding.evidence["root_mean_square"] == pytest.approx(float(x.square().mean().sqrt()), rel=1e-5)
    assert finding.evidence["largest"] == pytest.approx(float(x.max()))


def test_the_remedy_standardises() -> None:
    case = make_case(uniform_images(0, 255))
    (finding,) = CHECK.find(case)
    assert finding.remedy is not None
    mended_case = finding.remedy.apply(case)
    inputs = mended_case.inputs(mended_case.train)
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-4)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_an_offset_is_found() -> None:
    (finding,) = CHECK.find(make_case(uniform_images(2.0, 2.1)))
    assert "far from 0" in finding.cause


def test_channels_of_different_size_are_found() -> None:
    x = uniform_images(channels=3)
    x[:, 1] /= 30
    (finding,) = CHECK.find(make_case(x))
    assert finding.evidence["smallest_channel"] == pytest.approx(float(x[:, 1].square().mean().sqrt()), rel=1e-5)


def test_features_of_different_size_are_found() -> None:
    x = torch.rand(60, 8, 1, 1, generator=torch.Generator().manual_seed(0))
    x[:, 0] = 0  # a constant feature has no scale
    x[:, 3] *= 5
    assert CHECK.find(make_case(x)) == []
    x[:, 3] *= 12
    (finding,) = CHECK.find(make_case(x * 0.05))
    assert finding.evidence["largest_feature"] == pytest.approx(
        float((x[:, 3] * 0.05).square().mean().sqrt()), rel=1e-5
    )


def test_inputs_that_the_model_standardises_have_no_finding() -> None:
    x = uniform_images(0, 255)
    assert CHECK.find(make_case(x, preprocess={"mean": [127.0], "std": [73.0]})) == []
    net = Sequential(norm=BatchNorm(), conv=Conv2d(2, 3), flatten=Flatten(), out=Dense(4))
    assert CHECK.find(case_of(make_model(net, input_shape=(1, 6, 6)), x, torch.arange(60) % 4)) == []


def test_inputs_are_converted_to_float64_in_chunks() -> None:
    class LargestTensor(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.bytes = max(self.bytes, result.numel() * result.element_size())
            return result

    case = make_case(torch.rand(900, 3, 12, 12, generator=torch.Generator().manual_seed(0)))
    with LargestTensor() as largest:
        assert CHECK.find(case) == []
    assert largest.bytes < 8 * case.train.x.numel() / 10  # 8 bytes each: all inputs in float64
