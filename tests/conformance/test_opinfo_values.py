"""PyTorch's samples of norms, activations, merges, losses and dropout: wrong classes fail, and skips have reasons."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conformance import losses, opinfo
from conformance.case import Mismatch
from conformance.opinfo import activations, dropout, merges, moves, normalizations, tensors, weighted
from conformance.opinfo import losses as functions
from conformance.tally import Row, run_cases
from conformance.trial import run
from pellucid.layers import BatchNorm, Dropout, LayerNorm, Mode, Multiply, Softmax
from pellucid.layers.dropout import DropoutCache
from pellucid.losses import BinaryCrossEntropy, Huber, NegativeLogLikelihood, SoftmaxCrossEntropy

pytestmark = pytest.mark.slow

MODULES = (normalizations, activations, merges, functions, dropout, tensors, moves, weighted)


def rows_of(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str = "") -> list[Row]:
    """Run the module's operators, or the operator `name` with its variants, in both dtypes; return their rows."""
    operators_module = functions if module is losses else module
    selected = tuple(operator for operator in operators_module.OPERATORS if name in ("", operator.name))
    assert selected
    monkeypatch.setattr(opinfo, "OPERATORS", selected)
    return list(run_cases(opinfo.cases()))


def test_the_operators_are_in_the_table() -> None:
    assert all(operator in opinfo.OPERATORS for module in MODULES for operator in module.OPERATORS)


class DoubledHuber(Huber):
    """A Huber loss whose gradient lacks the factor 1/2."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, dy = super().compute(y, target)
        return value, 2 * dy


class UnweightedBinaryCrossEntropy(BinaryCrossEntropy):
    """A loss that ignores its class_weights."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return BinaryCrossEntropy(self.pos_weight, self.reduction).compute(y, target)


class ConstantMeanBatchNorm(BatchNorm):
    """A batch norm that does not update its running mean."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return super().forward({**params, "running_mean": params["running_mean"].clone()}, x, mode)


class ConstantStatisticsLayerNorm(LayerNorm):
    """A layer norm whose backward pass treats the mean and the variance as constants."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        _, dparams = super().backward(params, cache, dy)
        return params["weight"] * dy * cache.invstd, dparams


class DiagonalSoftmax(Softmax):
    """A softmax whose backward pass uses only the diagonal of the Jacobian."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        return dy * cache.y * (1 - cache.y), {}


class IdentityGradientMultiply(Multiply):
    """A product whose gradient with respect to each input is dy."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        return tuple(dy.sum_to_size(x.shape) for x in cache.xs), {}


@pytest.mark.parametrize(
    ("module", "subject", "wrong_class", "operator", "message"),
    [
        (losses, "Huber", DoubledHuber, "nn.functional.huber_loss", "Mismatch"),
        (losses, "Huber", DoubledHuber, "nn.functional.smooth_l1_loss", "Mismatch"),
        (normalizations, "LayerNorm", ConstantStatisticsLayerNorm, "nn.functional.layer_norm", "Mismatch"),
        (merges, "Multiply", IdentityGradientMultiply, "mul", "Mismatch"),
    ],
)
def test_a_wrong_gradient_fails(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, subject: str, wrong_class: type, operator: str, message: str
) -> None:
    passed_before = [row.passed for row in rows_of(monkeypatch, module, operator)]
    monkeypatch.setattr(module, subject, wrong_class)
    for row, passed in zip(rows_of(monkeypatch, module, operator), passed_before, strict=True):
        assert row.failed > passed / 2  # samples with an empty batch or a single value cannot fail
        assert all(message in failure for failure in row.failures)


def test_a_softmax_with_half_a_jacobian_fails() -> None:
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for kind, error in ((Softmax, 0.0), (DiagonalSoftmax, 0.1)):
        for dim in (0, 1):
            result = run(activations.softmax_along(kind)(lambda dim=dim: x.softmax(dim), x, dim))
            assert result < 1e-14 if not error else result > error


def test_running_statistics_that_are_not_updated_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalizations, "BatchNorm", ConstantMeanBatchNorm)
    for row in rows_of(monkeypatch, normalizations, "nn.functional.batch_norm"):
        assert row.failed == 2  # the training samples with momentum above 0


def test_weights_that_are_not_used_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BinaryCrossEntropy", UnweightedBinaryCrossEntropy)
    for row in rows_of(monkeypatch, losses, "nn.functional.binary_cross_entropy_with_logits"):
        assert row.failed == 10  # four shapes of weights and one with pos_weight, each as mean and as sum
        assert row.passed == 9


class ScaledCrossEntropy(SoftmaxCrossEntropy):
    """A loss whose gradient is wrong if it is a weighted mean."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, dy = super().compute(y, target)
        return value, dy * (1.5 if self.class_weights and self.reduction == "mean" else 1)


class TripledBinaryCrossEntropy(BinaryCrossEntropy):
    """A loss whose gradient is wrong if it is a mean over weighted outputs."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, dy = super().compute(y, target)
        return value, dy * (3 if self.class_weights and self.reduction != "sum" else 1)


class UnweightedMeanLoss(NegativeLogLikelihood):
    """A loss that divides the weighted sum by the number of targets instead of the sum of their weights."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.reduction != "mean":
            return super().compute(y, target)
        value, dy = NegativeLogLikelihood(self.class_weights, self.ignore, "sum").compute(y, target)
        return value / target.numel(), dy / target.numel()


@pytest.mark.parametrize(
    ("module", "wrong_class", "operator", "failed"),
    [
        (losses, ScaledCrossEntropy, "nn.functional.cross_entropy", 2),  # targets: class indices and probabilities
        (functions, ScaledCrossEntropy, "nn.functional.linear_cross_entropy", 10),
        (losses, TripledBinaryCrossEntropy, "nn.functional.binary_cross_entropy_with_logits", 5),
        (losses, TripledBinaryCrossEntropy, "nn.functional.binary_cross_entropy", 1),
        (losses, TripledBinaryCrossEntropy, "nn.functional.multilabel_soft_margin_loss", 2),
        (losses, UnweightedMeanLoss, "nn.functional.nll_loss", 12),
    ],
)
def test_a_wrong_weighted_mean_fails(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, wrong_class: type, operator: str, failed: int
) -> None:
    monkeypatch.setattr(module, wrong_class.__base__.__name__, wrong_class)
    for row in rows_of(monkeypatch, module, operator):
        assert row.failed >= failed
        assert row.passed


def test_negative_weights_become_absolute_for_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    (operator,) = (operator for operator in functions.OPERATORS if operator.name == "nn.functional.nll_loss")
    weight = torch.tensor([2.0, -3.0])
    options, name_suffix = operator.options({"weight": weight, "reduction": "sum"})
    assert options["weight"].tolist() == [2, 3]
    assert options["reduction"] == "sum"
    assert name_suffix == " with |weight|"
    assert weight.tolist() == [2, -3]
    assert operator.options({"weight": weight.abs()})[1] == operator.options({})[1] == ""
    monkeypatch.setattr(opinfo, "OPERATORS", (operator,))
    assert any(case.name.endswith(" with |weight|") for case in opinfo.cases())


def test_a_loss_with_a_different_factor_fails() -> None:
    y, target = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    assert run(losses.mse_loss(lambda: F.mse_loss(y, target), y, target)) < 1e-14
    assert run(losses.mse_loss(lambda: F.mse_loss(y, target) / 2, y, target)) > 0.99


class UnscaledDropout(Dropout):
    """Dropout that does not scale the kept entries."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        y, cache = super().forward(params, x, mode)
        return y * (1 - self.rate), cache


class UnmaskedGradientDropout(Dropout):
    """Dropout whose backward pass does not apply the mask."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        return dy * cache.scale, {}


class NeverDropout(Dropout):
    """Dropout that drops no entry."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return super().forward(params, x, Mode())


class PixelwiseDropout(Dropout):
    """Dropout of channels that wrongly draws for each pixel."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return Dropout(self.rate).forward(params, x, mode)


class FixedRateDropout(Dropout):
    """Dropout that keeps nine of ten entries for any rate."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return masked_pass(self, x, torch.rand(x.shape, generator=mode.rng) >= 0.1, mode)


class InvertedDropout(Dropout):
    """Dropout that keeps an entry with the probability of dropping it."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return masked_pass(self, x, torch.rand(x.shape, generator=mode.rng) < self.rate, mode)


class AllOrNothingDropout(Dropout):
    """Dropout that keeps all entries of a batch or none."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return masked_pass(self, x, (torch.rand((), generator=mode.rng) >= self.rate).expand(x.shape), mode)


class PairedDropout(Dropout):
    """Dropout that keeps an entry if and only if it drops the previous one."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        draws = torch.rand(x.numel(), generator=mode.rng)
        draws[1::2] = 1 - draws[0:-1:2]
        return masked_pass(self, x, draws.view(x.shape) >= self.rate, mode)


class RowwiseDropout(Dropout):
    """Dropout that wrongly draws for whole rows instead of for each entry."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return masked_pass(
            self, x, (torch.rand((*x.shape[:1], 1), generator=mode.rng) >= self.rate).expand(x.shape), mode
        )


class SharedChannelDropout(Dropout):
    """Dropout of channels that wrongly draws one mask for all examples."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        mask = torch.rand((1, x.shape[1], *(1,) * (x.dim() - 2)), generator=mode.rng) >= self.rate
        return masked_pass(self, x, mask.expand(x.shape), mode)


def masked_pass(layer: Dropout, x: Tensor, mask: Tensor, mode: Mode) -> Any:
    """Return output and cache of a pass with this mask in training, and those of the correct layer in evaluation."""
    if not mode.train or not layer.rate or x.dim() < 1 + layer.channels:
        return Dropout(layer.rate, layer.channels).forward({}, x, mode)
    scale = x.new_tensor(1 / (1 - layer.rate))
    return x * mask * scale, DropoutCache(mask, scale)


@pytest.mark.parametrize(
    ("wrong_class", "channels", "message"),
    [
        (UnscaledDropout, False, "Mismatch"),
        (UnmaskedGradientDropout, False, "Mismatch"),
        (NeverDropout, False, "is kept instead of"),
        (FixedRateDropout, False, "is kept instead of 0.500"),
        (InvertedDropout, False, "is kept instead of 0.750"),
        (AllOrNothingDropout, False, "not drawn apart"),
        (PairedDropout, False, "not drawn apart"),
        (RowwiseDropout, False, "not drawn apart"),
        (PixelwiseDropout, True, "a channel passes in part"),
        (SharedChannelDropout, True, "not drawn apart"),
    ],
)
def test_a_wrong_dropout_fails(
    monkeypatch: pytest.MonkeyPatch, wrong_class: type[Dropout], channels: bool, message: str
) -> None:
    monkeypatch.setattr(dropout, "Dropout", wrong_class)
    for row in rows_of(monkeypatch, dropout, "nn.functional.dropout2d" if channels else "nn.functional.dropout"):
        assert row.failed >= 2 - (wrong_class is RowwiseDropout)  # the training samples with a rate above 0
        assert any(message in failure for failure in row.failures)


def test_dropout_cannot_be_checked_on_inputs_with_zeros() -> None:
    x = torch.tensor([0.0, 1.0])
    with pytest.raises(Mismatch, match="cannot show"):
        dropout.matching_pass(Dropout(), x, x)


def test_skips_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def skip_counts(module: ModuleType, name: str) -> dict[str, int]:
        first, second = rows_of(monkeypatch, module, name)
        assert first.skips == second.skips
        return first.skips

    assert skip_counts(functions, "nn.functional.cross_entropy") == {"option reduction='none'": 4}
    assert skip_counts(functions, "nn.functional.multi_margin_loss") == {
        "option reduction='none'": 1,
        "margin below 0": 1,
    }
    assert skip_counts(merges, "add") == {"option alpha": 2}
    assert skip_counts(dropout, "nn.functional.dropout") == {"p=1, which leaves nothing": 6}


def test_supported_options_are_passed_on() -> None:
    """Without label_smoothing and ignore_index, the losses would differ."""
    rng = torch.Generator().manual_seed(3)
    y, target = torch.randn(6, 4, dtype=torch.float64, generator=rng), torch.tensor([0, 3, 1, 2, 3, 3])
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    options: dict[str, Any] = {"weight": weight, "ignore_index": 2, "label_smoothing": 0.3}
    trial = losses.cross_entropy(lambda: F.cross_entropy(y, target, **options), y, target, **options)
    assert run(trial) < 1e-14
    plain = SoftmaxCrossEntropy()(y, target)[0]
    assert abs(plain - trial.forward().outputs[0]) > 0.01
