"""PyTorch's samples of norms, activations, merges, losses and dropout: they agree, and what is wrong is caught."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers import BatchNorm, Dropout, LayerNorm, Mode, Multiply, Softmax
from pellucid.losses import BinaryCrossEntropy, Huber, NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.scorecard import opinfo
from pellucid.scorecard.case import Mismatch
from pellucid.scorecard.opinfo import activations, dropout, losses, merges, normalizations
from pellucid.scorecard.tally import Row, count
from pellucid.scorecard.trial import run

MODULES = (normalizations, activations, merges, losses, dropout)


def rows_of(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str = "") -> list[Row]:
    """Run the module's operators, or the one called `name` with its variants, in both dtypes."""
    chosen = tuple(operator for operator in module.OPERATORS if name in ("", operator.name))
    assert chosen
    monkeypatch.setattr(opinfo, "OPERATORS", chosen)
    return list(count(opinfo.cases()))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_operator_agrees(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    rows = rows_of(monkeypatch, module)
    assert len(rows) == 2 * len(module.OPERATORS)
    assert [failure for row in rows for failure in row.failures] == []
    assert all(row.passed for row in rows)


def test_the_operators_are_in_the_table() -> None:
    assert all(operator in opinfo.OPERATORS for module in MODULES for operator in module.OPERATORS)


class DoubledHuber(Huber):
    """A Huber loss that forgot a half in its gradient."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, dy = super().compute(y, target)
        return value, 2 * dy


class UnweightedBinaryCrossEntropy(BinaryCrossEntropy):
    """A loss that takes its class_weights and does not use them."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return BinaryCrossEntropy(self.pos_weight, self.reduction).compute(y, target)


class SlowBatchNorm(BatchNorm):
    """A batch norm whose running mean stays where it was."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return super().forward({**params, "running_mean": params["running_mean"].clone()}, x, mode)


class CarelessLayerNorm(LayerNorm):
    """A layer norm that takes the statistics for constants on the way back."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        _, dparams = super().backward(params, cache, dy)
        return params["weight"] * dy * cache.invstd, dparams


class DiagonalSoftmax(Softmax):
    """A softmax that forgets what an input does to the other outputs."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        return dy * cache.y * (1 - cache.y), {}


class GreedyMultiply(Multiply):
    """A product that hands each input dy itself."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        return tuple(dy.sum_to_size(x.shape) for x in cache.xs), {}


@pytest.mark.parametrize(
    ("module", "subject", "wrong", "operator", "says"),
    [
        (losses, "Huber", DoubledHuber, "nn.functional.huber_loss", "error 1.0e+00"),
        (losses, "Huber", DoubledHuber, "nn.functional.smooth_l1_loss", "error"),
        (normalizations, "LayerNorm", CarelessLayerNorm, "nn.functional.layer_norm", "error"),
        (merges, "Multiply", GreedyMultiply, "mul", "error"),
    ],
)
def test_a_wrong_gradient_fails(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, subject: str, wrong: type, operator: str, says: str
) -> None:
    right = [row.passed for row in rows_of(monkeypatch, module, operator)]
    monkeypatch.setattr(module, subject, wrong)
    for row, passed in zip(rows_of(monkeypatch, module, operator), right, strict=True):
        assert row.failed > passed / 2  # not of an empty batch, nor of one value
        assert all(says in failure for failure in row.failures)


def test_a_softmax_with_half_a_jacobian_fails() -> None:
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for kind, error in ((Softmax, 0.0), (DiagonalSoftmax, 0.1)):
        for dim in (0, 1):
            found = run(activations.along(kind)(lambda dim=dim: x.softmax(dim), x, dim))
            assert found < 1e-14 if not error else found > error


def test_running_statistics_that_stay_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalizations, "BatchNorm", SlowBatchNorm)
    for row in rows_of(monkeypatch, normalizations, "nn.functional.batch_norm"):
        assert row.failed == 2  # of the samples in training, those whose momentum is above 0


def test_weights_that_are_not_used_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BinaryCrossEntropy", UnweightedBinaryCrossEntropy)
    for row in rows_of(monkeypatch, losses, "nn.functional.binary_cross_entropy_with_logits"):
        assert row.failed == 10  # four shapes of weights and one with pos_weight, each as mean and as sum
        assert row.passed == 9


def test_negative_weights_are_subtracted() -> None:
    y = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).log_softmax(1)
    target, weights = torch.tensor([0, 1, 2, 2, 1, 0]), torch.tensor([2.0, -3.0, 0.0], dtype=torch.float64)
    compute = losses.signed(weights, lambda part: NegativeLogLikelihood(part, reduction="sum"))
    value, dy = compute(y, target)
    assert value.item() == pytest.approx(-2 * (y[0, 0] + y[5, 0]).item() + 3 * (y[1, 1] + y[4, 1]).item(), rel=1e-14)
    assert dy[:, 1].tolist() == [0, 3, 0, 0, 3, 0]
    assert dy[:, 0].tolist() == [-2, 0, 0, 0, 0, -2]


def test_a_factor_is_needed_where_the_losses_differ_by_one() -> None:
    y, target = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    assert run(losses.mse_loss(lambda: F.mse_loss(y, target), y, target)) < 1e-14
    assert run(losses.mse_loss(lambda: F.mse_loss(y, target) / 2, y, target)) == pytest.approx(1.0)


class Unscaled(Dropout):
    """Dropout that leaves what passes as it is."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        y, cache = super().forward(params, x, mode)
        return y * (1 - self.rate), cache


class Unmasked(Dropout):
    """Dropout whose gradient passes everywhere."""

    def backward(self, params: Any, cache: Any, dy: Tensor) -> Any:
        return dy * cache.scale, {}


class Always(Dropout):
    """Dropout that keeps everything."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return super().forward(params, x, Mode())


class Sprinkled(Dropout):
    """Dropout that draws for every pixel where it should for whole channels."""

    def forward(self, params: Any, x: Tensor, mode: Mode) -> Any:
        return Dropout(self.rate).forward(params, x, mode)


@pytest.mark.parametrize(
    ("wrong", "channels", "says"),
    [
        (Unscaled, False, "error 5.0e-01"),
        (Unmasked, False, "error"),
        (Always, False, "always fare otherwise"),
        (Sprinkled, True, "a channel passes in part"),
    ],
)
def test_a_wrong_dropout_fails(
    monkeypatch: pytest.MonkeyPatch, wrong: type[Dropout], channels: bool, says: str
) -> None:
    monkeypatch.setattr(dropout, "Dropout", wrong)
    for row in rows_of(monkeypatch, dropout, "nn.functional.dropout2d" if channels else "nn.functional.dropout"):
        assert row.failed >= 2  # of the samples in training, those that drop at all
        assert any(says in failure for failure in row.failures)


def test_dropout_is_not_judged_by_zeros() -> None:
    x = torch.tensor([0.0, 1.0])
    with pytest.raises(Mismatch, match="cannot show"):
        dropout.alike(Dropout(), x, x)


def test_skips_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def skips(module: ModuleType, name: str) -> dict[str, int]:
        first, second = rows_of(monkeypatch, module, name)
        assert first.skips == second.skips
        return first.skips

    assert skips(losses, "nn.functional.cross_entropy") == {"option reduction='none'": 4}
    assert skips(losses, "nn.functional.multi_margin_loss") == {"option reduction='none'": 1, "margin below 0": 1}
    assert skips(merges, "add") == {"option alpha": 2}
    assert skips(dropout, "nn.functional.dropout") == {"p=1, which leaves nothing": 6}


def test_an_option_that_is_there_is_passed_on() -> None:
    """Were label_smoothing or ignore_index lost on the way, these would differ."""
    rng = torch.Generator().manual_seed(3)
    y, target = torch.randn(6, 4, dtype=torch.float64, generator=rng), torch.tensor([0, 3, 1, 2, 3, 3])
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    options: dict[str, Any] = {"weight": weight, "ignore_index": 2, "label_smoothing": 0.3}
    trial = losses.cross_entropy(lambda: F.cross_entropy(y, target, **options), y, target, **options)
    assert run(trial) < 1e-14
    plain = SoftmaxCrossEntropy()(y, target)[0]
    assert abs(plain - trial.ours().outputs[0]) > 0.01
