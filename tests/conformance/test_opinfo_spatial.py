"""PyTorch's samples of spatial operators: wrong layers fail, and omitted samples are counted by reason."""

import re
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conformance import opinfo
from conformance.case import torch_version
from conformance.opinfo import convolutions, padding, pooling, products, resizing, shapes
from conformance.opinfo.operator import Operator
from conformance.tally import Row, run_cases
from conformance.trial import run
from pellucid import layers
from pellucid.base.errors import PellucidError

pytestmark = pytest.mark.slow

MODULES = (pooling, convolutions, products, padding, resizing, shapes)


def rows_of(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str = "", every: int = 1) -> list[Row]:
    """Run the module's operators, or the operator `name` with its variants, in both dtypes; return their rows."""
    selected = tuple(operator for operator in module.OPERATORS if name in ("", operator.name))
    assert selected
    monkeypatch.setattr(opinfo, "OPERATORS", selected)
    return list(run_cases(opinfo.cases(), every))


def skip_counts(rows: list[Row]) -> dict[str, int]:
    return dict(sum((Counter(row.skips) for row in rows), Counter()))


def test_the_operators_are_in_the_table() -> None:
    assert all(operator in opinfo.OPERATORS for module in MODULES for operator in module.OPERATORS)


class WrongConv2d(layers.Conv2d):
    """A convolution whose gradient with respect to the weight or the input is wrong by a factor."""

    wrong, factor = "x", -1.0

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        dx, dparams = super().backward(params, cache, dy)
        if self.wrong == "x":
            return self.factor * dx, dparams
        return dx, {name: self.factor * d if name == self.wrong else d for name, d in dparams.items()}


@pytest.mark.parametrize("wrong", ["x", "weight"])
@pytest.mark.parametrize("name", ["nn.functional.conv1d", "nn.functional.conv2d"])
def test_a_wrong_sign_in_a_gradient_fails_every_sample(monkeypatch: pytest.MonkeyPatch, name: str, wrong: str) -> None:
    monkeypatch.setattr(WrongConv2d, "wrong", wrong)
    monkeypatch.setattr(convolutions, "Conv2d", WrongConv2d)
    for row in rows_of(monkeypatch, convolutions, name):
        assert row.failed == row.cases > 0
        assert all("Mismatch" in failure for failure in row.failures)


def test_a_relative_error_of_1e_9_of_a_gradient_fails_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WrongConv2d, "factor", 1 + 1e-9)
    monkeypatch.setattr(convolutions, "Conv2d", WrongConv2d)
    double, single = rows_of(monkeypatch, convolutions, "nn.functional.conv2d")
    assert "float64" in double.suite
    assert double.failed == double.cases
    assert single.failed == 0


class WrongSwitches(layers.MaxPool2d):
    """A max pooling layer whose switches are off by one pixel."""

    def forward(self, params: Any, x: Tensor, mode: Any) -> Any:
        y, cache = super().forward(params, x, mode)
        return y, cache._replace(switches=(cache.switches - 1).clamp(0))


def test_wrong_switches_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "MaxPool2d", WrongSwitches)
    rows = rows_of(monkeypatch, pooling, "nn.functional.max_pool1d", every=40)
    assert all(row.failed > row.cases / 2 for row in rows)


class WrongShape(layers.Upsample):
    """An Upsample whose output has a wrong shape."""

    def forward(self, params: Any, x: Tensor, mode: Any) -> Any:
        y, cache = super().forward(params, x, mode)
        return y[..., :-1], cache


def test_a_wrong_shape_is_a_failed_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "Upsample", WrongShape)
    double, _ = rows_of(monkeypatch, resizing, "nn.functional.upsample_bilinear")
    assert double.failed == double.cases
    assert all(re.search("Mismatch|RuntimeError|IndexError", failure) for failure in double.failures)


@pytest.mark.parametrize(
    ("module", "name", "reasons"),
    [
        (pooling, "nn.functional.avg_pool2d", {"option divisor_override"}),
        (products, "matmul", {"a batch of right-hand matrices"}),
        (products, "addmm", set()),
        (shapes, "unflatten", {"an axis of size 0"}),
        (padding, "constant_pad_nd", {"padding of three axes"}),
        (resizing, "nn.functional.upsample_nearest", {"3-D input"}),
        (resizing, "nn.functional.upsample_bilinear", set()),
        (convolutions, "nn.functional.conv_transpose2d", set()),
    ],
)
def test_omitted_samples_are_counted_by_reason(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, reasons: set[str]
) -> None:
    rows = rows_of(monkeypatch, module, name)
    assert set(skip_counts(rows)) == reasons
    assert all(row.passed + row.skipped == row.cases for row in rows)


def test_a_trial_leaves_its_tensors_unchanged() -> None:
    tensors = torch.randn(2, 4, 5), torch.randn(6, 2, 3), torch.randn(6)
    before = [tensor.clone() for tensor in tensors]
    trial = convolutions.conv(lambda: F.conv1d(*tensors, padding=1, groups=2), *tensors, padding=1, groups=2, axes=1)
    assert run(trial) < 1e-5
    assert all(torch.equal(one, other) for one, other in zip(before, tensors, strict=True))
    assert not any(tensor.requires_grad for tensor in tensors)


class LastRowBiasDense(layers.Dense):
    """A Dense layer whose bias gradient is that of the last row only."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        dx, dparams = super().backward(params, cache, dy)
        return dx, dparams | ({"bias": dy[-1]} if self.bias else {})


def test_a_sum_with_a_broadcast_row_is_checked_as_a_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "Dense", LastRowBiasDense)
    for row in rows_of(monkeypatch, products, "addmm"):
        assert row.failed == 3  # a row, a number, a row of ten; a matrix is added by Add


def test_the_wrong_pixel_of_pytorchs_backward_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "MaxPool2d", WrongSwitches)
    for row in rows_of(monkeypatch, pooling, "max_pool2d_with_indices_backward", every=40):
        assert row.failed > row.cases / 2


def test_an_operator_that_this_pytorch_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinfo, "OPERATORS", (Operator("nn.functional.conv5d", layers.Conv2d, convolutions.conv),))
    version = torch.__version__.split("+")[0]
    with pytest.raises(PellucidError, match=rf"torch {version} .*nn.functional.conv5d; run: pip install torch=="):
        list(opinfo.cases())


def test_the_version_is_without_the_tag_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    assert torch_version() == "2.13.0"
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    assert torch_version() == "2.9.1"
