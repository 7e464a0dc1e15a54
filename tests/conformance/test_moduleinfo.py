"""PyTorch's samples for its modules: conversion to layers, detection of errors, and skipped samples."""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.common_modules import FunctionInput, ModuleInput

from conformance import losses, moduleinfo
from conformance.case import Mismatch, SkipCase
from conformance.losses import huber_loss
from conformance.moduleinfo import MODULES, _check, cases
from conformance.moduleinfo.losses import (
    bce_with_logits,
    cross_entropy,
    huber,
    module_adapter,
    mse,
    multi_margin,
    nll,
    smooth_l1,
    soft_margin,
)
from conformance.moduleinfo.module import ConvertedModule, Module, module_trial
from conformance.moduleinfo.norms import batch_norm, instance_norm
from conformance.moduleinfo.values import OTHER_NAMES, VALUE_BY_VALUE
from conformance.moduleinfo.windows import adaptive_avg_pool, avg_pool, conv, lp_pool, max_pool
from conformance.trial import Trial, run
from pellucid.base.errors import PellucidError
from pellucid.layers import LAYERS, BatchNorm, Conv2d, Dense
from pellucid.losses import BinaryCrossEntropy

pytestmark = pytest.mark.slow


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def to_float64(module: nn.Module) -> Any:
    return module.to(torch.float64)


def conv1d(module: Any, x: Tensor) -> ConvertedModule:
    return conv(module, x, axes=1)


def test_every_layer_that_pytorch_has_samples_for_is_in_the_table() -> None:
    from torch.testing._internal.common_modules import module_db

    torch_names, table_names = {info.name for info in module_db}, {module.name for module in MODULES}
    our_names = {f"nn.{layer.__name__.removesuffix('2d')}{axes}" for layer in LAYERS for axes in ("", "1d", "2d")}
    same_names = {name for name in torch_names if name.lower() in {ours.lower() for ours in our_names}}
    assert table_names <= torch_names
    # Samples of recurrent modules have states and no batch axis; tests/layers/test_recurrent.py compares all options.
    # Those of operators, in conformance/opinfo, contain the samples of Hardswish and Hardsigmoid.
    others = {"nn.GRU", "nn.LSTM", "nn.RNN", "nn.Hardswish", "nn.Hardsigmoid"}
    missing = same_names - others - table_names
    assert not missing, "add their lines to MODULES of values, norms, pads or windows in conformance/moduleinfo"


ACTIVATIONS = [kind for kind in LAYERS if VALUE_BY_VALUE in kind.traits and kind not in OTHER_NAMES]


@pytest.mark.parametrize("layer", ACTIVATIONS)
def test_options_of_activations_are_named_as_pytorchs(layer: Any) -> None:
    module = getattr(nn, layer.__name__, layer)  # without a module of its name, it has no samples
    assert {field.name for field in fields(layer)} <= inspect.signature(module).parameters.keys(), (
        "add the layer to OTHER_NAMES of conformance/moduleinfo/values.py, and its line to MODULES there"
    )


def test_samples_are_drawn_equally_often_in_both_modes() -> None:
    names = [case.name for case in cases() if case.suite == "torch ModuleInfo nn.BatchNorm1d float64"]
    assert sum(name.startswith("training") for name in names) == sum(name.startswith("evaluation") for name in names)
    assert "training sample 0 affine" in names


def test_a_changed_weight_is_a_mismatch() -> None:
    trial = module_trial(conv1d, to_float64(nn.Conv1d(4, 5, 3)), random_tensor(2, 4, 7))
    assert run(trial) < 1e-14
    trial.tensors["weight"][0, 0, 0] += 1e-3  # changes the reference only: our layer has a copy of the weight
    assert run(trial) > 1e-5


def test_the_weight_of_a_convolution_over_one_axis_is_compared_in_its_own_shape() -> None:
    trial = module_trial(conv1d, to_float64(nn.Conv1d(4, 6, 3, groups=2)), random_tensor(4, 7))  # without batch axis
    gradients = trial.forward().backward(random_tensor(6, 5))
    assert {name: tuple(gradient.shape) for name, gradient in gradients.items()} == {
        "x": (4, 7),
        "weight": (6, 2, 3),
        "bias": (6,),
    }


def test_a_missing_gradient_is_a_mismatch() -> None:
    def without_bias(module: Any, x: Tensor) -> ConvertedModule:
        converted = conv1d(module, x)
        assert isinstance(converted.layer, Conv2d)
        return replace(converted, layer=replace(converted.layer, bias=False))

    with pytest.raises(Mismatch, match=r"gradients for \['weight', 'x'\] instead of \['bias', 'weight', 'x'\]"):
        run(module_trial(without_bias, to_float64(nn.Conv1d(4, 5, 3, bias=True)), random_tensor(2, 4, 7)))


def test_a_lazy_module_takes_its_shape_from_the_sample() -> None:
    assert run(module_trial(conv1d, to_float64(nn.LazyConv1d(5, 3)), random_tensor(2, 4, 7))) < 1e-14


def test_running_statistics_are_compared_and_reset_for_each_sample() -> None:
    module = to_float64(nn.BatchNorm1d(4, momentum=0.3)).train()
    trial = module_trial(batch_norm, module, random_tensor(6, 4))
    first, second = trial.reference(), trial.reference()
    assert len(first) == 3  # the output, the mean, the variance
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    torch.testing.assert_close(first[1], 0.3 * random_tensor(6, 4).mean(0))
    assert run(trial) < 1e-13  # rounding of a formula and of a kernel that sum in different orders


def test_a_wrong_momentum_is_found_in_the_running_statistics() -> None:
    def with_half_momentum(module: Any, x: Tensor) -> ConvertedModule:
        return replace(batch_norm(module, x), layer=BatchNorm(module.momentum / 2, module.eps))

    module, x = to_float64(nn.BatchNorm1d(4)), random_tensor(6, 4)
    assert run(module_trial(with_half_momentum, module.train(), x)) > 1e-3
    module = to_float64(nn.BatchNorm1d(4))
    assert run(module_trial(with_half_momentum, module.train(False), x)) < 1e-14  # evaluation does not update them


def test_without_running_statistics_evaluation_normalizes_by_the_batch() -> None:
    module = to_float64(nn.BatchNorm1d(4, affine=False, track_running_stats=False)).train(False)
    trial = module_trial(batch_norm, module, 5 + random_tensor(6, 4))
    assert run(trial) < 1e-12
    assert trial.tensors.keys() == {"x"}  # no gradients of a scale and shift, which the module lacks


def test_the_switches_of_max_pooling_are_compared_too() -> None:
    module = nn.MaxPool1d(4, return_indices=True)
    trial = module_trial(lambda module, x: max_pool(module, x, axes=1), module, random_tensor(2, 3, 9))
    _, switches = trial.forward().outputs
    assert switches.shape == (2, 3, 2)
    assert run(trial) == 0


def test_an_output_size_of_none_is_the_input_size() -> None:
    module = nn.AdaptiveAvgPool2d((3, None))
    assert adaptive_avg_pool(module, random_tensor(1, 3, 5, 6), axes=2).layer.size == (3, 6)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("adapt", "module"),
    [
        (huber, nn.HuberLoss(delta=0.3)),
        (smooth_l1, nn.SmoothL1Loss(beta=0.4, reduction="sum")),
        (mse, nn.MSELoss()),
        (bce_with_logits, nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 0.5, 1.0]))),
    ],
)
def test_options_of_a_regression_loss_are_passed_on(adapt: Callable[..., Trial], module: nn.Module) -> None:
    y, target = random_tensor(4, 3), random_tensor(4, 3, seed=1).sigmoid()
    assert run(adapt(to_float64(module), y, target)) < 1e-14


@pytest.mark.parametrize(
    ("adapt", "module"),
    [
        (cross_entropy, nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]), ignore_index=1, label_smoothing=0.2)),
        (cross_entropy, nn.CrossEntropyLoss(reduction="sum")),
        (nll, nn.NLLLoss(torch.tensor([1.0, 2.0, 0.5]), ignore_index=2)),
        (multi_margin, nn.MultiMarginLoss(p=2, margin=0.5, weight=torch.tensor([1.0, 2.0, 0.5]))),
    ],
)
def test_options_of_a_classification_loss_are_passed_on(adapt: Callable[..., Trial], module: nn.Module) -> None:
    assert run(adapt(to_float64(module), random_tensor(4, 3), torch.tensor([0, 2, 1, 0]))) < 1e-14


def test_an_option_that_is_not_passed_on_is_a_mismatch() -> None:
    assert (
        run(module_adapter(huber_loss)(nn.HuberLoss(delta=0.3), random_tensor(4, 3), random_tensor(4, 3, seed=1)))
        > 1e-2
    )


@pytest.mark.parametrize(
    ("adapt", "reason"),
    [
        (
            lambda: conv(nn.Conv2d(4, 5, 3, padding_mode="circular"), random_tensor(2, 4, 7, 7), axes=2),
            "option padding_mode",
        ),
        (
            lambda: avg_pool(nn.AvgPool2d(2, divisor_override=3), random_tensor(1, 1, 4, 4), axes=2),
            "option divisor_override",
        ),
        (lambda: lp_pool(nn.LPPool1d(3, 2), random_tensor(1, 3, 8), axes=1), "signed powers"),
        (lambda: batch_norm(nn.BatchNorm1d(4, momentum=None), random_tensor(6, 4)), "option momentum=None"),
        (lambda: batch_norm(nn.BatchNorm1d(4), random_tensor(0, 4)), "training on an empty batch"),
        (
            lambda: instance_norm(nn.InstanceNorm1d(3, track_running_stats=True), random_tensor(2, 3, 5)),
            "track_running_stats",
        ),
        (
            lambda: mse(nn.MSELoss(reduction="none"), random_tensor(2, 3), random_tensor(2, 3)),
            "option reduction='none'",
        ),
        (
            lambda: nll(nn.NLLLoss(reduction="none"), random_tensor(2, 3), torch.tensor([0, 2])),
            "option reduction='none'",
        ),
        (
            lambda: cross_entropy(nn.CrossEntropyLoss(ignore_index=1), random_tensor(2, 3), torch.tensor([1, 1])),
            "all positions ignored",
        ),
    ],
)
def test_missing_modules_and_options_are_named(adapt: Callable[[], Any], reason: str) -> None:
    with pytest.raises(SkipCase, match=reason):
        adapt()


def test_p_norm_pooling_equals_pytorchs_where_both_are_defined() -> None:
    for p, x in ((2, random_tensor(1, 3, 8)), (3, random_tensor(1, 3, 8).abs()), (1.5, random_tensor(1, 3, 8).abs())):
        assert run(module_trial(lambda module, x: lp_pool(module, x, axes=1), nn.LPPool1d(p, 2), x)) < 1e-12


class TripledGradient(BinaryCrossEntropy):
    """A loss whose gradient is wrong for weighted outputs that are summed and averaged over the batch."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, dy = super().compute(y, target)
        return value, dy * (3 if self.class_weights and self.reduction == "batch" else 1)


def test_a_wrong_weighted_mean_over_the_batch_is_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.MultiLabelSoftMarginLoss(torch.tensor([-1.0, 2.0, 0.5], dtype=torch.float64))
    y, target = random_tensor(4, 3), (random_tensor(4, 3, seed=1) > 0).double()
    assert run(soft_margin(module, y, target)) < 1e-14
    assert module.weight.tolist() == [1, 2, 0.5]
    monkeypatch.setattr(losses, "BinaryCrossEntropy", TripledGradient)
    assert run(soft_margin(module, y, target)) > 1


def test_keywords_reach_the_module_by_their_names() -> None:
    input_shapes = []

    def adapt(module: Any, input: Tensor) -> Trial:
        input_shapes.append(tuple(input.shape))
        return module_trial(lambda module, x: ConvertedModule(Dense(5)), module, input=input)

    torch_class, sample = nn.Linear, ModuleInput(FunctionInput(3, 5), FunctionInput(input=random_tensor(4, 3)), desc="")
    assert _check(Module("nn.Linear", Dense, adapt), torch_class, sample, torch.float64, True) < 1e-14
    assert input_shapes == [(4, 3)]
    sample_with_unknown_keyword = ModuleInput(FunctionInput(3, 5), FunctionInput(x=random_tensor(4, 3)), desc="")
    with pytest.raises(TypeError, match="'x'"):
        _check(Module("nn.Linear", Dense, adapt), torch_class, sample_with_unknown_keyword, torch.float64, True)


def test_a_module_that_this_pytorch_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moduleinfo, "MODULES", (Module("nn.Conv5d", Conv2d, module_trial),))
    with pytest.raises(PellucidError, match=r"module nn.Conv5d; run: pip install torch=="):
        list(cases())
