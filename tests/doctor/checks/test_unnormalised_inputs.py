"""Inputs and targets with unusual scales: offsets, and channels or features of different scales."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.unnormalised_inputs import CHECK, finding_of_scale
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import Adam
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


def spectra(shape: tuple[int, ...], count: int = 200, decades: float = 4.0) -> torch.Tensor:
    """Return positive inputs whose positions have scales of several powers of ten, brought to 0 to 1 together."""
    rng = torch.Generator().manual_seed(0)
    scales = 10 ** torch.linspace(0, -decades, torch.Size(shape).numel())
    x = scales.reshape(shape) * -torch.rand(count, *shape, generator=rng).log()
    return (x - x.min()) / (x.max() - x.min())


@pytest.mark.parametrize("shape", [(60,), (2, 30), (1, 1, 60), (3, 2, 40)])
def test_positions_of_very_different_scales_are_standardised_each(shape: tuple[int, ...]) -> None:
    (finding,) = CHECK.find(make_case(spectra(shape)))
    assert finding.cause.startswith("features have very different scales")
    assert ("each feature" in finding.fix, "255" in finding.fix, "logarithm" in finding.fix) == (True, False, False)
    assert finding.remedy is not None
    x = finding.remedy.apply(make_case(spectra(shape))).train.x
    std, mean = torch.std_mean(x, 0, correction=0)
    assert torch.allclose(mean, torch.zeros(shape), atol=1e-4)
    assert torch.allclose(std, torch.ones(shape), atol=1e-4)


@pytest.mark.parametrize("shape", [(12,), (1, 20), (2, 1, 8)])
@pytest.mark.parametrize(("spread", "sign", "takes_logarithm"), [(2.0, 1, True), (2.0, -1, False), (0.3, 1, False)])
def test_positive_inputs_of_many_magnitudes_are_standardised_as_logarithms(
    shape: tuple[int, ...], spread: float, sign: int, takes_logarithm: bool
) -> None:
    logarithms = torch.randn(400, *shape, generator=torch.Generator().manual_seed(0))
    x = 100 * sign * (spread * logarithms).exp()
    (finding,) = CHECK.find(make_case(x))
    assert ("logarithm" in finding.fix) is takes_logarithm
    assert finding.remedy is not None
    changed = finding.remedy.apply(make_case(x)).train.x
    correlation = float(torch.corrcoef(torch.stack([changed.flatten(), logarithms.flatten()]))[0, 1])
    assert (abs(correlation) > 0.95) is (takes_logarithm or spread < 1)


@pytest.mark.parametrize("shape", [(9,), (2, 20)])
@pytest.mark.parametrize("n_outliers", [0, 1, 3])
def test_features_squeezed_by_outliers_are_clipped_before_they_are_standardised(
    shape: tuple[int, ...], n_outliers: int
) -> None:
    usual = torch.randn(400, *shape, generator=torch.Generator().manual_seed(0))
    x = usual.clone()
    x[:n_outliers] = 1e5
    x = (x - x.amin(0)) / (x.amax(0) - x.amin(0))
    found = finding_of_scale(make_case(x), "the scale of the inputs", {})
    assert ("clip" in found.fix) is bool(n_outliers)
    assert found.remedy is not None
    changed = found.remedy.apply(make_case(x)).train.x[n_outliers:]
    correlation = float(torch.corrcoef(torch.stack([changed.flatten(), usual[n_outliers:].flatten()]))[0, 1])
    assert correlation > 0.98
    assert float(changed.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("x", "is_said"),
    [
        (uniform_images(0, 255).round(), True),
        (uniform_images(0, 1 / 255), True),
        (uniform_images(0, 3000), False),
        (uniform_images(0, 16).round(), False),
        (255 * torch.rand(60, 8).round(), False),
    ],
)
def test_only_bytes_of_images_are_to_be_divided_by_255(x: torch.Tensor, is_said: bool) -> None:
    (finding,) = CHECK.find(make_case(x))
    assert ("255" in finding.fix) is is_said


def test_pulses_at_one_place_of_signals_have_no_finding() -> None:
    x = 0.02 * torch.randn(100, 1, 80, generator=torch.Generator().manual_seed(0))
    x[:, :, 30:36] += 1
    assert CHECK.find(make_case(x)) == []


@pytest.mark.slow
@pytest.mark.parametrize("is_vector", [True, False])
def test_inputs_brought_to_0_to_1_together_are_the_cause(is_vector: bool) -> None:
    x = spectra((2, 40), 900, 6.0)
    rng = torch.Generator().manual_seed(1)
    y = torch.arange(900) % 2
    x[:, :, 25:32] *= 1 + y[:, None, None] * (0.5 + torch.rand(900, 1, 1, generator=rng))
    x = x.flatten(1) if is_vector else x
    layers = {"hidden": Dense(32), "relu": ReLU(), "scores": Dense(2)}
    net = Sequential(**({} if is_vector else {"flatten": Flatten()}), **layers)
    model = Model(net, optimizer=Adam(1e-3), input_shape=tuple(x.shape[1:]))
    train, validation = (x[:600], y[:600]), (x[600:], y[600:])
    history = model.fit(*train, epochs=10, batch_size=32, verbose=False)
    diagnosis = model.doctor(*train, validation=validation, history=history, epochs=10, batch_size=32)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("unnormalised-inputs", "cause")


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
