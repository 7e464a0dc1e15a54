"""Weight decay, penalties and limits beside those of torch.optim and torch.nn.functional."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from conformance.case import TOLERANCE as OF_DTYPE
from conformance.case import Case, gap, torch_version
from conformance.optimizers.walks import TOLERANCE, TREES, Walker, start, walk
from pellucid.optim import Adam, Momentum
from pellucid.optim.regularizers import L1, L2, ElasticNet, MaxNorm, Regularizer
from pellucid.verify import pull_back

RATE = 0.25
N = 50  # training examples

Cost = Callable[[Tensor], Tensor]


def cases() -> Iterator[Case]:
    """Yield weight decay in an optimizer, then each regularizer's cost, gradient and shrinking."""
    for amount in (1e-4, 0.1, 0.5):
        for tree in TREES:
            check = partial(_decay_by_gradient, amount, tree)
            yield _case("torch.optim SGD weight_decay", f"{amount}, {tree}", L2, check)
    for amount in (1e-4, 0.1, 0.5):
        for tree in TREES:
            check = partial(_decay_decoupled, amount, tree)
            yield _case("torch.optim AdamW weight_decay", f"{amount}, {tree}", L2, check)
    penalties: list[tuple[str, Regularizer, Cost]] = [
        ("mse_loss", L2(5.0), lambda w: 5.0 / (2 * N) * _squares(w)),
        ("mse_loss", L2(0.01), lambda w: 0.01 / (2 * N) * _squares(w)),
        ("l1_loss", L1(0.3), lambda w: 0.3 / N * _absolutes(w)),
        ("l1_loss", L1(7.0), lambda w: 7.0 / N * _absolutes(w)),
        ("l1_loss + mse_loss", ElasticNet(0.3, 2.0), lambda w: 0.3 / N * _absolutes(w) + 1.0 / N * _squares(w)),
        ("l1_loss + mse_loss", ElasticNet(0.0, 1.0), lambda w: 0.5 / N * _squares(w)),
    ]
    for name, regularizer, cost in penalties:
        for tree in TREES:
            check = partial(_penalty, regularizer, cost, tree)
            yield _case(f"torch.nn.functional {name}", f"{regularizer}, {tree}", type(regularizer), check)
    yield from _softshrink_samples()
    for l1, l2 in ((0.3, 0.2), (2.0, 0.0), (0.0, 1.0)):
        for tree in TREES:
            check = partial(_shrink_both, l1, l2, tree)
            yield _case("torch.nn.functional softshrink + torch.optim AdamW", f"{l1} {l2}, {tree}", ElasticNet, check)
    for limit in (0.1, 1.5, 1000.0):
        for tree in ("dense", "conv", "layouts"):
            check = partial(_limit, limit, tree)
            yield _case("torch.nn.functional normalize", f"limit {limit}, {tree}", MaxNorm, check)


def _case(suite: str, name: str, subject: type, check: Callable[[], float]) -> Case:
    return Case(suite, torch_version(), name, subject, check, TOLERANCE)


def _decay_by_gradient(amount: float, tree: str) -> float:
    walker = Walker(Momentum(0.05, 0.5), L2(amount))
    return walk(walker, lambda params: torch.optim.SGD(params, 0.05, 0.5, weight_decay=amount), tree)


def _decay_decoupled(amount: float, tree: str) -> float:
    walker = Walker(Adam(0.05), L2(amount, decoupled=True))
    return walk(walker, lambda params: torch.optim.AdamW(params, 0.05, weight_decay=amount), tree)


def _penalty(regularizer: Regularizer, cost: Cost, tree: str) -> float:
    weights, grads = start(tree), [torch.zeros_like(weight) for weight in start(tree)]
    regularizer.add_gradient(weights, grads, N)
    value = regularizer.cost(weights, N)
    expected = pull_back(
        lambda: torch.stack([cost(weight) for weight in weights]).sum(), weights, torch.ones_like(value)
    )
    errors = [gap("cost", value, torch.stack([cost(weight) for weight in weights]).sum())]
    errors += [gap(f"gradient {k}", *pair) for k, pair in enumerate(zip(grads, expected, strict=True))]
    errors += [gap(f"weight {k}", *pair) for k, pair in enumerate(zip(weights, start(tree), strict=True))]
    return max(errors)


def _softshrink_samples() -> Iterator[Case]:
    from torch.testing._internal.common_methods_invocations import op_db

    operator = next(entry for entry in op_db if entry.name == "nn.functional.softshrink")
    for dtype, tolerance in OF_DTYPE.items():
        suite = f"torch OpInfo {operator.name} {str(dtype).removeprefix('torch.')}"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            samples = list(operator.sample_inputs("cpu", dtype))
        for number, sample in enumerate(samples):
            check = partial(_softshrink, sample.input, sample.kwargs.get("lambd", 0.5))
            yield Case(suite, torch_version(), f"sample {number}", L1, check, tolerance)


def _softshrink(x: Tensor, reach: float) -> float:
    weight = x.detach().clone()
    L1(reach / RATE, decoupled=True).shrink([weight], RATE)
    return gap("shrunk", weight, F.softshrink(x.detach(), reach))


def _shrink_both(l1: float, l2: float, tree: str) -> float:
    weights, expected = start(tree), [F.softshrink(weight, RATE * l1) for weight in start(tree)]
    ElasticNet(l1, l2, decoupled=True).shrink(weights, RATE)
    adamw = torch.optim.AdamW(expected, RATE, weight_decay=l2)
    for weight in expected:
        weight.grad = torch.zeros_like(weight)
    adamw.step()
    return max(gap(f"weight {k}", *pair) for k, pair in enumerate(zip(weights, expected, strict=True)))


def _limit(limit: float, tree: str) -> float:
    """F.normalize rather than renorm, which adds 1e-7 to each length."""
    weights = [weight for weight in start(tree) if weight.dim() > 1]
    weights[0][0] = 0.0
    errors = []
    for before in weights:
        after = before.clone()
        MaxNorm(limit).after_update([after])
        rows = before.reshape(len(before), -1)
        long = rows.norm(dim=1, keepdim=True) > limit
        expected = torch.where(long, limit * F.normalize(rows, dim=1), rows)
        errors.append(gap("limited", after.reshape(len(after), -1), expected))
    return max(errors)


def _squares(w: Tensor) -> Tensor:
    return F.mse_loss(w, torch.zeros_like(w), reduction="sum")


def _absolutes(w: Tensor) -> Tensor:
    return F.l1_loss(w, torch.zeros_like(w), reduction="sum")
