"""The order of regularizers: fused and unfused steps equal formulas in PyTorch, however they are listed."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.layers import Conv2d, Dense, Flatten, ReLU
from pellucid.layers.base import Layer, Params
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.nested import flatten, map_tree
from pellucid.objective import Supervised
from pellucid.optim import SGD, AdamW, MaxNorm, Momentum, Optimizer, Regularizer
from pellucid.optim.regularizers import L1, L2, ElasticNet
from pellucid.trace import trace
from pellucid.training.step import TrainingStep

N, LR, STEPS = 20, 0.3, 4
REGULARIZERS: tuple[Regularizer | MaxNorm, ...] = (
    L1(0.5),
    L1(0.02, decoupled=True),
    L2(0.8),
    L2(0.05, decoupled=True),
    ElasticNet(0.3, 0.4),
    ElasticNet(0.03, 0.06, decoupled=True),
    MaxNorm(0.9),
)
REGULARIZER_PAIRS = list(itertools.combinations_with_replacement(REGULARIZERS, 2))
REGULARIZER_SETS = [*REGULARIZER_PAIRS, REGULARIZERS]


def objective(net: Layer) -> Supervised:
    return Supervised(net, SoftmaxCrossEntropy())


def new_network() -> tuple[Layer, Params]:
    net = Sequential(conv=Conv2d(3, 2), act=ReLU(), flat=Flatten(), out=Dense(3))
    params, _ = net.init((1, 3, 3), torch.Generator().manual_seed(0))
    return net, map_tree(torch.Tensor.double, params)


def batches() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [
        (torch.randn(5, 1, 3, 3, generator=rng, dtype=torch.float64), torch.randint(0, 3, (5,), generator=rng))
        for _ in range(STEPS)
    ]


def train_by_step(
    regularizers: tuple[Regularizer | MaxNorm, ...], optimizer: Optimizer, clip: float | None
) -> dict[str, Tensor]:
    net, params = new_network()
    step = TrainingStep(
        Supervised(net, SoftmaxCrossEntropy()), params, optimizer, examples=N, regularizers=regularizers, clip=clip
    )
    for x, target in batches():
        step(Batch(x, target), LR)
    return flatten(params)


def l1_and_l2_factors(regularizer: Regularizer | MaxNorm) -> tuple[float, float]:
    """Return the coefficients of |w| and of w² / 2."""
    if isinstance(regularizer, ElasticNet):
        return regularizer.l1, regularizer.l2
    if isinstance(regularizer, L1):
        return regularizer.lam, 0.0
    return (0.0, regularizer.lam) if isinstance(regularizer, L2) else (0.0, 0.0)


def train_by_formula(
    regularizers: tuple[Regularizer | MaxNorm, ...], momentum: float = 0.0, clip: float = 1e6
) -> dict[str, Tensor]:
    """Return the weights after training in PyTorch: gradients of cost and penalties, clipping, shrinking, update."""
    _, params = new_network()
    flat = {path: tensor.requires_grad_() for path, tensor in flatten(params).items()}
    optimizer = torch.optim.SGD(flat.values(), LR, momentum)
    decayed_weights = [flat["conv.weight"], flat["out.weight"]]
    terms = [
        l1_and_l2_factors(regularizer)
        for regularizer in regularizers
        if isinstance(regularizer, Regularizer) and not regularizer.decoupled
    ]
    shrinking = [
        regularizer for regularizer in regularizers if isinstance(regularizer, Regularizer) and regularizer.decoupled
    ]
    limits = [regularizer.limit for regularizer in regularizers if isinstance(regularizer, MaxNorm)]
    for x, target in batches():
        optimizer.zero_grad()
        y = F.relu(F.conv2d(x, flat["conv.weight"], flat["conv.bias"])).flatten(1)
        cost = F.cross_entropy(F.linear(y, flat["out.weight"], flat["out.bias"]), target)
        for (l1, l2), weight in itertools.product(terms, decayed_weights):
            cost = cost + l1 / N * weight.abs().sum() + l2 / N / 2 * weight.square().sum()
        cost.backward()
        torch.nn.utils.clip_grad_norm_(flat.values(), clip)
        with torch.no_grad():
            in_order = sorted(shrinking, key=lambda regularizer: type(regularizer).__name__)
            for regularizer, weight in itertools.product(in_order, decayed_weights):
                l1, l2 = l1_and_l2_factors(regularizer)
                weight.copy_(F.softshrink(weight, LR * l1) * (1 - LR * l2))
        optimizer.step()
        with torch.no_grad():
            for limit, weight in itertools.product(limits, decayed_weights):
                units = weight.flatten(1)  # torch.renorm is not used, since it adds 1e-7 to the norm
                is_above_limit = units.norm(dim=1) > limit
                units[is_above_limit] = F.normalize(units[is_above_limit]) * limit
    return {path: tensor.detach() for path, tensor in flat.items()}


def assert_weights_close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    for path, tensor in expected.items():
        assert torch.allclose(actual[path], tensor, rtol=tolerance, atol=tolerance), path


def case_id(regularizers: tuple[Regularizer | MaxNorm, ...]) -> str:
    return " and ".join(map(repr, regularizers))


@pytest.mark.parametrize("regularizers", REGULARIZER_SETS, ids=case_id)
def test_updates_in_and_after_the_backward_pass_equal_the_formula_in_any_order(
    regularizers: tuple[Regularizer | MaxNorm, ...],
) -> None:
    expected = train_by_formula(regularizers)
    for ordered in (regularizers, regularizers[::-1]):
        # With L2 only and no clipping, layers are updated in the backward pass; with clipping, they never are.
        assert_weights_close(train_by_step(ordered, SGD(LR), None), expected)
        assert_weights_close(train_by_step(ordered, SGD(LR), 1e6), expected)


@pytest.mark.parametrize("regularizers", REGULARIZER_PAIRS, ids=case_id)
def test_clipping_comes_between_the_cost_terms_and_the_shrinking(
    regularizers: tuple[Regularizer | MaxNorm, ...],
) -> None:
    expected = train_by_formula(regularizers, 0.9, 0.05)
    for ordered in (regularizers, regularizers[::-1]):
        assert_weights_close(train_by_step(ordered, Momentum(LR, 0.9), 0.05), expected)


def test_several_regularizers_of_one_class_do_not_depend_on_their_order() -> None:
    regularizers = (ElasticNet(0.1, 0.9, decoupled=True), ElasticNet(0.2, 0.1, decoupled=True), L2(0.3, decoupled=True))
    expected, *results = [train_by_step(ordered, SGD(LR), None) for ordered in itertools.permutations(regularizers)]
    for actual in results:
        assert all(torch.equal(actual[path], tensor) for path, tensor in expected.items())


def test_coupled_and_decoupled_l2_under_adamw_equal_torch() -> None:
    net, params = new_network()
    flat = {path: tensor.clone().requires_grad_() for path, tensor in flatten(params).items()}
    decayed_weights = [tensor for tensor in flat.values() if tensor.dim() > 1]
    groups = [
        {"params": decayed_weights, "weight_decay": 0.07},
        {"params": [tensor for tensor in flat.values() if tensor.dim() == 1]},
    ]
    torch_optimizer = torch.optim.AdamW(groups, 0.01, weight_decay=0.0)
    regularizers = L2(0.05, decoupled=True), L2(0.8)
    step = TrainingStep(
        Supervised(net, SoftmaxCrossEntropy()),
        params,
        AdamW(0.01, weight_decay=0.02),
        examples=N,
        regularizers=regularizers,
    )
    extra_decay = (1 - 0.01 * 0.05) * (1 - 0.01 * 0.02) / (1 - 0.01 * 0.07)  # two decays in pellucid, one in torch
    for x, target in batches():
        torch_optimizer.zero_grad()
        y = F.relu(F.conv2d(x, flat["conv.weight"], flat["conv.bias"])).flatten(1)
        loss = F.cross_entropy(F.linear(y, flat["out.weight"], flat["out.bias"]), target)
        (loss + sum(0.8 / N / 2 * tensor.square().sum() for tensor in decayed_weights)).backward()
        with torch.no_grad():
            for tensor in decayed_weights:
                tensor.mul_(extra_decay)
        torch_optimizer.step()
        step(Batch(x, target), 0.01)
    assert_weights_close(flatten(params), {path: tensor.detach() for path, tensor in flat.items()})


@dataclass(frozen=True)
class DoubledL2(L2):
    """L2 with twice the gradient."""

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        super().add_gradient(weights, grads, n)
        super().add_gradient(weights, grads, n)


def test_a_subclass_of_l2_uses_its_own_methods() -> None:
    assert_weights_close(train_by_step((DoubledL2(0.4),), SGD(LR), None), train_by_formula((L2(0.8),)))


def test_a_traced_step_applies_regularizers_in_the_same_order() -> None:
    net, params = new_network()
    regularizers = L2(0.05, decoupled=True), L1(0.5), L2(0.8)
    model = Model(net, optimizer=SGD(LR), input_shape=(1, 3, 3), regularizer=regularizers, metrics=())
    x, target = batches()[0]
    model.params = map_tree(torch.Tensor.float, params)
    stepped = trace(model, x[:1].float(), target[:1], dtype=torch.float64, n=N).step()
    net, params = new_network()
    step = TrainingStep(objective(net), params, SGD(LR), examples=N, regularizers=regularizers)
    step(Batch(x[:1].float().double(), target[:1]), LR)
    assert_weights_close({path: tensor.double() for path, tensor in stepped.weights.items()}, flatten(params), 1e-6)


@dataclass(frozen=True, repr=False)
class ReprCountingL2(L2):
    """L2 that records the calls of its __repr__, by which regularizers are sorted."""

    def __repr__(self) -> str:
        repr_calls.append(self)
        return f"ReprCountingL2({self.lam})"


repr_calls: list[Regularizer] = []


def test_regularizers_are_sorted_once_not_in_every_step() -> None:
    net, params = new_network()
    step = TrainingStep(objective(net), params, SGD(LR), examples=N, regularizers=(ReprCountingL2(0.4), L1(0.1)))
    repr_calls.clear()
    for x, target in batches():
        step(Batch(x, target), LR)
    assert not repr_calls
