"""`verify` on kinks: correct gradients never fail, and wrong gradients are found."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import Model
from pellucid.combine import Sequential
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, Layer, LocalContrastNorm, MaxPool2d, Mode, Params, ReLU
from pellucid.losses import L1, Loss, SoftmaxCrossEntropy
from pellucid.verify import verify
from pellucid.verify.table import GradientRow, GradientTable


def sparse_images(seed: int) -> Tensor:
    """Return images that are black except for a few pixels, so most windows have equal values."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 1, 10, 10, generator=rng)
    return torch.where(torch.rand(x.shape, generator=rng) < 0.85, 0.0, x)


def verify_network(net: Layer, x: Tensor, seed: int = 0) -> GradientTable:
    rng = torch.Generator().manual_seed(seed)
    params, _ = net.init(tuple(x.shape[1:]), rng)
    return verify(net, params, x, torch.randint(0, 3, (len(x),), generator=rng), SoftmaxCrossEntropy())


def pooling_network(pool: Layer, act: Layer | None = None) -> Sequential:
    return Sequential(
        conv=Conv2d(4, 3, padding=1), norm=BatchNorm(), act=act or ReLU(), pool=pool, conv2=Conv2d(4, 3, padding=1),
        act2=ReLU(), pool2=MaxPool2d(3, 2), flat=Flatten(), out=Dense(3),
    )  # fmt: skip


def find_row(table: GradientTable, path: str, what: str) -> GradientRow:
    return next(row for row in table.rows if (row.path, row.what) == (path, what))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_black_backgrounds_put_entries_on_kinks_without_failures(seed: int) -> None:
    for pool in (MaxPool2d(2), MaxPool2d(3, 2), MaxPool2d(3, 1, 1)):
        table = verify_network(pooling_network(pool), sparse_images(seed), seed)
        assert table.ok, str(table)
        assert sum(row.kinks for row in table.rows) > 0
        assert all(row.checked + row.kinks == min(row.entries, 8) for row in table.rows)


@dataclass(frozen=True)
class Pool(MaxPool2d):
    """A MaxPool2d with `factor` times the correct gradient."""

    factor: float = 1.0

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return super().backward(params, cache, self.factor * dy)


@dataclass(frozen=True)
class NumPyPool(Layer):
    """Max pooling of 2 x 2 in NumPy, which autograd cannot follow; the last of equal values receives dy."""

    factor: float = 1.0

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {}, (shape[0], shape[1] // 2, shape[2] // 2)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        n, c, h, w = x.shape
        rows = (
            x.numpy().reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
        )
        switches = 3 - rows[..., ::-1].argmax(-1)
        y = np.take_along_axis(rows, switches[..., None], -1)[..., 0]
        return torch.from_numpy(np.ascontiguousarray(y)), (torch.from_numpy(switches),)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        n, c, h, w = dy.shape
        chosen = F.one_hot(cache[0], 4).to(dy.dtype) * (self.factor * dy)[..., None]  # (N, C, H', W', 4)
        return chosen.view(n, c, h, w, 2, 2).permute(0, 1, 2, 4, 3, 5).reshape(n, c, 2 * h, 2 * w), {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [lambda factor: Pool(2, factor=factor), NumPyPool], ids=["followed", "not followed"])
def test_a_wrong_gradient_among_kinks_is_named_and_a_right_one_is_not(kind: Any, seed: int) -> None:
    table = verify_network(pooling_network(kind(1.0)), sparse_images(seed), seed)
    assert table.ok, str(table)
    wrong = verify_network(pooling_network(kind(1.01)), sparse_images(seed), seed)
    assert wrong.culprit is not None
    assert wrong.culprit.startswith("pool (")
    assert find_row(wrong, "pool2", "dx").ok
    assert find_row(wrong, "conv2", "weight").ok


@dataclass(frozen=True)
class TiesPool(Layer):
    """Max pooling of 2 x 2 whose dy goes to every equal value, all of it or divided among them."""

    uses_numpy: bool = False  # in NumPy, where autograd cannot follow
    divided: bool = False

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {}, (shape[0], shape[1] // 2, shape[2] // 2)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        y = F.max_pool2d(x, 2)
        return torch.from_numpy(y.detach().numpy().copy()) if self.uses_numpy else y, (x.detach(), y.detach())

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        def wide(y: Tensor) -> Tensor:
            return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

        x, y = cache
        equal = (x == wide(y)).to(dy.dtype)
        return wide(dy) * equal / (wide(4 * F.avg_pool2d(equal, 2)) if self.divided else 1), {}


@pytest.mark.parametrize("uses_numpy", [False, True], ids=["followed", "not followed"])
def test_a_pooling_that_gives_all_of_dy_to_every_equal_value_fails(uses_numpy: bool) -> None:
    first_layers: tuple[tuple[Layer, ...], ...] = ((), (Conv2d(4, 3, padding=1),), (Conv2d(4, 3, bias=False), ReLU()))
    for seed, first in enumerate(first_layers):
        wrong = verify_network(Sequential(*first, TiesPool(uses_numpy), Flatten(), Dense(3)), sparse_images(seed), seed)
        assert wrong.culprit == "tiespool1 (TiesPool, dx)"
        assert "all entries change together" in find_row(wrong, "tiespool1", "dx").note
        right = verify_network(
            Sequential(*first, TiesPool(uses_numpy, True), Flatten(), Dense(3)), sparse_images(seed), seed
        )
        assert right.ok, str(right)


def test_a_tie_of_the_loss_is_right_only_if_equal_outputs_share_its_gradient() -> None:
    @dataclass(frozen=True)
    class Largest(Loss):
        """The mean of the largest output of each example; each of equal outputs receives the fraction `share` of dy."""

        share: float

        def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            equal = (y == y.amax(1, keepdim=True)).to(y.dtype)
            return y.amax(1).mean(), equal * self.share / len(y)

    net, x = Sequential(out=Dense(3)), torch.rand(4, 5)
    params, _ = net.init((5,), torch.Generator().manual_seed(0))
    params = {"out": {**params["out"], "weight": torch.ones_like(params["out"]["weight"])}}
    assert verify(net, params, x, torch.zeros(4).long(), Largest(1 / 3)).ok
    wrong = verify(net, params, x, torch.zeros(4).long(), Largest(1.0))
    assert wrong.culprit == "loss (Largest, dy)"


@pytest.mark.slow
def test_only_differences_are_compared_where_autograd_is_not_finite() -> None:
    for first in ((), (Conv2d(2, 3, padding=1),)):
        for seed in range(2):
            x = sparse_images(seed)
            x[:, :, :, :6] = 0  # no contrast: autograd's square root has no finite slope
            net = Sequential(*first, LocalContrastNorm(3), Conv2d(4, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(3))
            table = verify_network(net, x, seed)
            assert table.ok, str(table)
            norm = find_row(table, "localcontrastnorm1", "dx")
            assert "autograd not finite at" in norm.note
            assert norm.autograd == pytest.approx(0, abs=1e-9)


def test_a_wrong_gradient_where_autograd_is_not_finite_fails() -> None:
    @dataclass(frozen=True)
    class Root(Layer):
        """sqrt(Σ x⁴) + x, summed over axis 1; where the sum is 0, dx is `factor` times the correct one."""

        factor: float = 1.0

        def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
            return {}, shape

        def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
            return torch.sqrt((x**4).sum(1, keepdim=True)) + x, (x.detach(),)

        def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
            norm = (cache[0] ** 4).sum(1, keepdim=True).sqrt()
            slope = torch.where(norm > 0, 2 * cache[0] ** 3 / norm.clamp_min(1e-300), 0)
            at_zero = torch.where(norm > 0, 1.0, self.factor)
            return at_zero * (dy + slope * dy.sum(1, keepdim=True)), {}

    for size in (1.0, 0.4, 1e-2):  # small sizes: rounding errors are not negligible
        x = size * torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
        x[1:3] = 0
        assert verify_network(Sequential(Root(), Dense(3)), x).ok
        assert verify_network(Sequential(Root(1.5), Dense(3)), x).culprit == "root1 (Root, dx)"


@dataclass(frozen=True)
class OtherSide(Layer):
    """A ReLU whose gradient at 0 is 1, or `at_zero` times dy."""

    at_zero: float = 1.0

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return torch.relu(x), (x.detach(),)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return torch.where(cache[0] > 0, dy, torch.where(cache[0] == 0, self.at_zero * dy, 0)), {}


def test_a_choice_at_a_tie_that_differs_from_autograd_is_a_kink() -> None:
    x = torch.relu(torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    table = verify_network(Sequential(act=OtherSide(), out=Dense(3)), x)
    act = find_row(table, "act", "dx")
    assert table.ok, str(table)
    assert act.autograd is not None
    assert act.autograd > 0.1
    assert "autograd's side" in act.note
    assert act.kinks > 0


@dataclass(frozen=True)
class StraightThrough(Layer):
    """A sine whose gradient is that of the identity: autograd agrees, and differences do not."""

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return x + (x.sin() - x).detach(), ()

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return dy, {}


def test_a_gradient_that_is_wrong_in_autograd_and_the_layer_fails() -> None:
    table = verify_network(Sequential(act=StraightThrough(), out=Dense(3)), torch.rand(4, 5) + 0.5)
    assert table.culprit == "act (StraightThrough, dx)"
    assert find_row(table, "act", "dx").autograd == pytest.approx(0, abs=1e-12)


@dataclass(frozen=True)
class NumPyScale(Layer):
    """Multiply by a parameter in NumPy, which autograd cannot follow."""

    factor: float = 1.0

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {"scale": 1 + torch.rand(shape, generator=rng)}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return torch.from_numpy(x.numpy() * params["scale"].numpy()), (x,)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return dy * params["scale"], {"scale": self.factor * (dy * cache[0]).sum(0)}


def test_learned_values_that_autograd_cannot_follow_are_compared_with_differences() -> None:
    for net in (Sequential(scale=NumPyScale(), out=Dense(3)), Sequential(a=Dense(5), scale=NumPyScale(), out=Dense(3))):
        table = verify_network(net, torch.rand(4, 5))
        assert table.ok, str(table)
        assert find_row(table, "scale", "scale").note == "central differences only"
    wrong = verify_network(Sequential(a=Dense(5), scale=NumPyScale(1.1), out=Dense(3)), torch.rand(4, 5))
    assert wrong.culprit == "scale (NumPyScale, scale)"


@dataclass(frozen=True)
class DetachedWeight(Dense):
    """A Dense layer that detaches its weight from autograd, with `factor` times the correct gradient."""

    factor: float = 1.0

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return super().forward({**params, "weight": params["weight"].detach()}, x, mode)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        dx, dparams = super().backward(params, cache, dy)
        return dx, {**dparams, "weight": self.factor * dparams["weight"]}


def test_a_weight_that_autograd_loses_is_compared_with_differences() -> None:
    assert verify_network(Sequential(lost=DetachedWeight(3)), torch.rand(4, 5)).ok
    wrong = verify_network(Sequential(lost=DetachedWeight(3, factor=2.0)), torch.rand(4, 5))
    assert wrong.culprit == "lost (DetachedWeight, weight)"


def test_an_output_that_is_its_target_is_a_kink_of_the_loss() -> None:
    net = Sequential(out=Dense(2))
    params = {"out": {"weight": torch.eye(2), "bias": torch.zeros(2)}}
    x = torch.tensor([[1.0, 2.0], [3.0, 0.5]])
    table = verify(net, params, x, x.clone(), L1())
    assert table.ok, str(table)
    assert find_row(table, "loss", "dy").kinks > 0


@dataclass(frozen=True)
class ZeroMask(Layer):
    """x * scale + shift, whose dx, or gradient of the shift, omits entries at which x is exactly 0."""

    wrong_gradient: str = ""
    uses_numpy: bool = False  # in NumPy, where autograd cannot follow

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {"scale": torch.full(shape, 1.5), "shift": torch.full(shape, 0.25)}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        y = params["scale"] * x + params["shift"]
        return (torch.from_numpy(y.detach().numpy().copy()) if self.uses_numpy else y), (x.detach(),)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        masked = dy * (cache[0] != 0)
        shift = masked if self.wrong_gradient == "shift" else dy
        return (masked if self.wrong_gradient == "dx" else dy) * params["scale"], {
            "scale": (dy * cache[0]).sum(0),
            "shift": shift.sum(0),
        }


@pytest.mark.parametrize("uses_numpy", [False, True], ids=["followed", "not followed"])
@pytest.mark.parametrize("wrong_gradient", ["dx", "shift"])
def test_a_gradient_that_is_wrong_only_at_exact_zeros_fails_where_the_loss_is_smooth(
    wrong_gradient: str, uses_numpy: bool
) -> None:
    for seed in range(4):
        right = Sequential(masked=ZeroMask("", uses_numpy), flat=Flatten(), out=Dense(3))
        assert verify_network(right, sparse_images(seed), seed).ok
        wrong = Sequential(masked=ZeroMask(wrong_gradient, uses_numpy), flat=Flatten(), out=Dense(3))
        table = verify_network(wrong, sparse_images(seed), seed)
        assert table.culprit == f"masked (ZeroMask, {wrong_gradient})"
        assert [row.what for row in table.rows if row.path == "masked" and not row.ok] == [wrong_gradient]


def test_a_gradient_outside_the_slopes_of_a_tie_fails() -> None:
    x = torch.relu(torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    for at_zero in (0.5, 1.0):
        assert verify_network(Sequential(act=OtherSide(at_zero), out=Dense(3)), x).ok
    for at_zero in (-0.5, 1.5):
        table = verify_network(Sequential(act=OtherSide(at_zero), out=Dense(3)), x)
        assert table.culprit == "act (OtherSide, dx)"


def test_choices_at_two_ties_one_above_the_other_are_kinks() -> None:
    for seed in range(2):
        net = Sequential(OtherSide(), Conv2d(4, 3, bias=False), OtherSide(), Flatten(), Dense(3))
        table = verify_network(net, sparse_images(seed), seed)
        assert table.ok, str(table)


def test_a_layer_below_a_tie_is_compared_with_the_choice_made_there() -> None:
    for seed in range(4):
        net = Sequential(conv=Conv2d(4, 3, padding=1), act=OtherSide(), flat=Flatten(), out=Dense(3))
        table = verify_network(net, sparse_images(seed), seed)
        assert table.ok, str(table)


@pytest.mark.slow
def test_ties_are_recognized_in_the_fused_form_for_training() -> None:
    net = Sequential(
        conv=Conv2d(3, 3, padding=1), conv2=Conv2d(4, 3, padding=1), act=OtherSide(), flat=Flatten(), out=Dense(3)
    )
    for seed in range(4):
        model = Model(net, input_shape=(1, 10, 10), seed=seed, metrics=())
        table = model.verify(sparse_images(seed), torch.tensor([0, 1, 2, 0]))
        assert table.ok, str(table)
