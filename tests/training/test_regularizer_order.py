"""Regularizers act in one order: fused and unfused steps, listed in any order, equal the formula in plain PyTorch."""

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
KINDS: tuple[Regularizer | MaxNorm, ...] = (
    L1(0.5),
    L1(0.02, decoupled=True),
    L2(0.8),
    L2(0.05, decoupled=True),
    ElasticNet(0.3, 0.4),
    ElasticNet(0.03, 0.06, decoupled=True),
    MaxNorm(0.9),
)
PAIRS = list(itertools.combinations_with_replacement(KINDS, 2))
SETS = [*PAIRS, KINDS]


def objective(net: Layer) -> Supervised:
    return Supervised(net, SoftmaxCrossEntropy())


def drawn() -> tuple[Layer, Params]:
    net = Sequential(conv=Conv2d(3, 2), act=ReLU(), flat=Flatten(), out=Dense(3))
    params, _ = net.init((1, 3, 3), torch.Generator().manual_seed(0))
    return net, map_tree(torch.Tensor.double, params)


def batches() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [
        (torch.randn(5, 1, 3, 3, generator=rng, dtype=torch.float64), torch.randint(0, 3, (5,), generator=rng))
        for _ in range(STEPS)
    ]


def learned(
    regularizers: tuple[Regularizer | MaxNorm, ...], optimizer: Optimizer, clip: float | None
) -> dict[str, Tensor]:
    net, params = drawn()
    step = TrainingStep(
        Supervised(net, SoftmaxCrossEntropy()), params, optimizer, examples=N, regularizers=regularizers, clip=clip
    )
    for x, target in batches():
        step(Batch(x, target), LR)
    return flatten(params)


def amounts(one: Regularizer | MaxNorm) -> tuple[float, float]:
    """Return the factors of |w| and of w² / 2."""
    if isinstance(one, ElasticNet):
        return one.l1, one.l2
    return (one.lam, 0.0) if isinstance(one, L1) else (0.0, one.lam) if isinstance(one, L2) else (0.0, 0.0)


def by_formula(
    regularizers: tuple[Regularizer | MaxNorm, ...], momentum: float = 0.0, clip: float = 1e6
) -> dict[str, Tensor]:
    """Return the weights after the steps in plain PyTorch: gradient and cost terms, clipping, shrinking, update."""
    _, params = drawn()
    flat = {path: one.requires_grad_() for path, one in flatten(params).items()}
    learner = torch.optim.SGD(flat.values(), LR, momentum)
    heavy = [flat["conv.weight"], flat["out.weight"]]
    terms = [
        amounts(regularizer)
        for regularizer in regularizers
        if isinstance(regularizer, Regularizer) and not regularizer.decoupled
    ]
    shrinking = [
        regularizer for regularizer in regularizers if isinstance(regularizer, Regularizer) and regularizer.decoupled
    ]
    limits = [regularizer.limit for regularizer in regularizers if isinstance(regularizer, MaxNorm)]
    for x, target in batches():
        learner.zero_grad()
        y = F.relu(F.conv2d(x, flat["conv.weight"], flat["conv.bias"])).flatten(1)
        cost = F.cross_entropy(F.linear(y, flat["out.weight"], flat["out.bias"]), target)
        for (l1, l2), weight in itertools.product(terms, heavy):
            cost = cost + l1 / N * weight.abs().sum() + l2 / N / 2 * weight.square().sum()
        cost.backward()
        torch.nn.utils.clip_grad_norm_(flat.values(), clip)
        with torch.no_grad():
            for one, weight in itertools.product(sorted(shrinking, key=lambda one: type(one).__name__), heavy):
                l1, l2 = amounts(one)
                weight.copy_(F.softshrink(weight, LR * l1) * (1 - LR * l2))
        learner.step()
        with torch.no_grad():
            for limit, weight in itertools.product(limits, heavy):
                units = weight.flatten(1)  # torch.renorm adds 1e-7 to the length
                long = units.norm(dim=1) > limit
                units[long] = F.normalize(units[long]) * limit
    return {path: one.detach() for path, one in flat.items()}


def equal(mine: dict[str, Tensor], theirs: dict[str, Tensor], within: float = 1e-12) -> None:
    for path, one in theirs.items():
        assert torch.allclose(mine[path], one, rtol=within, atol=within), path


def name(regularizers: tuple[Regularizer | MaxNorm, ...]) -> str:
    return " and ".join(map(repr, regularizers))


@pytest.mark.parametrize("regularizers", SETS, ids=name)
def test_updates_in_and_after_the_backward_pass_equal_the_formula_in_any_order(
    regularizers: tuple[Regularizer | MaxNorm, ...],
) -> None:
    theirs = by_formula(regularizers)
    for listed in (regularizers, regularizers[::-1]):
        equal(learned(listed, SGD(LR), None), theirs)  # learns in the sweep where there is L2 alone
        equal(learned(listed, SGD(LR), 1e6), theirs)  # never does


@pytest.mark.parametrize("regularizers", PAIRS, ids=name)
def test_clipping_comes_between_the_cost_terms_and_the_shrinking(
    regularizers: tuple[Regularizer | MaxNorm, ...],
) -> None:
    theirs = by_formula(regularizers, 0.9, 0.05)
    for listed in (regularizers, regularizers[::-1]):
        equal(learned(listed, Momentum(LR, 0.9), 0.05), theirs)


def test_several_pairs_of_one_kind_do_not_depend_on_their_order() -> None:
    several = (ElasticNet(0.1, 0.9, decoupled=True), ElasticNet(0.2, 0.1, decoupled=True), L2(0.3, decoupled=True))
    first, *others = [learned(listed, SGD(LR), None) for listed in itertools.permutations(several)]
    for other in others:
        assert all(torch.equal(other[path], one) for path, one in first.items())


def test_coupled_and_decoupled_l2_under_adamw_equal_torch() -> None:
    net, params = drawn()
    flat = {path: one.clone().requires_grad_() for path, one in flatten(params).items()}
    heavy = [one for one in flat.values() if one.dim() > 1]
    groups = [{"params": heavy, "weight_decay": 0.07}, {"params": [one for one in flat.values() if one.dim() == 1]}]
    theirs = torch.optim.AdamW(groups, 0.01, weight_decay=0.0)
    regularizers = L2(0.05, decoupled=True), L2(0.8)
    step = TrainingStep(
        Supervised(net, SoftmaxCrossEntropy()),
        params,
        AdamW(0.01, weight_decay=0.02),
        examples=N,
        regularizers=regularizers,
    )
    kept = (1 - 0.01 * 0.05) * (1 - 0.01 * 0.02) / (1 - 0.01 * 0.07)  # two decays, where torch has one
    for x, target in batches():
        theirs.zero_grad()
        y = F.relu(F.conv2d(x, flat["conv.weight"], flat["conv.bias"])).flatten(1)
        loss = F.cross_entropy(F.linear(y, flat["out.weight"], flat["out.bias"]), target)
        (loss + sum(0.8 / N / 2 * one.square().sum() for one in heavy)).backward()
        with torch.no_grad():
            for one in heavy:
                one.mul_(kept)
        theirs.step()
        step(Batch(x, target), 0.01)
    equal(flatten(params), {path: one.detach() for path, one in flat.items()})


@dataclass(frozen=True)
class Doubled(L2):
    """An L2 of twice the strength."""

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        super().add_gradient(weights, grads, n)
        super().add_gradient(weights, grads, n)


def test_a_subclass_of_l2_uses_its_own_methods() -> None:
    equal(learned((Doubled(0.4),), SGD(LR), None), by_formula((L2(0.8),)))


def test_a_traced_step_takes_the_same_order() -> None:
    net, params = drawn()
    regularizers = L2(0.05, decoupled=True), L1(0.5), L2(0.8)
    model = Model(net, optimizer=SGD(LR), input_shape=(1, 3, 3), regularizer=regularizers, metrics=())
    x, target = batches()[0]
    model.params = map_tree(torch.Tensor.float, params)
    stepped = trace(model, x[:1].float(), target[:1], dtype=torch.float64, n=N).step()
    net, params = drawn()
    step = TrainingStep(objective(net), params, SGD(LR), examples=N, regularizers=regularizers)
    step(Batch(x[:1].float().double(), target[:1]), LR)
    equal({path: one.double() for path, one in stepped.weights.items()}, flatten(params), 1e-6)


@dataclass(frozen=True, repr=False)
class Named(L2):
    """An L2 that counts how often it is asked for its text."""

    def __repr__(self) -> str:
        asked.append(self)
        return f"Named({self.lam})"


asked: list[Regularizer] = []


def test_regularizers_are_put_in_order_once() -> None:
    net, params = drawn()
    step = TrainingStep(objective(net), params, SGD(LR), examples=N, regularizers=(Named(0.4), L1(0.1)))
    asked.clear()
    for x, target in batches():
        step(Batch(x, target), LR)
    assert not asked
