"""Our weight decay, penalties and norm limits compared with torch.optim and torch.nn.functional."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from conformance.case import TOLERANCE as DTYPE_TOLERANCES
from conformance.case import Case, relative_error, torch_version
from conformance.optimizers.walks import PARAM_SHAPES, TOLERANCE, TrainingUpdate, compare_updates, initial_params
from pellucid.optim import Adam, Momentum
from pellucid.optim.regularizers import L1, L2, ElasticNet, MaxNorm, Regularizer
from pellucid.verify import pull_back

LEARNING_RATE = 0.25
N = 50  # training examples

Cost = Callable[[Tensor], Tensor]


def cases() -> Iterator[Case]:
    """Yield cases of weight decay, of each penalty's cost and gradient, of decoupled shrinking and of MaxNorm."""
    for amount in (1e-4, 0.1, 0.5):
        for tree in PARAM_SHAPES:
            check = partial(_compare_weight_decay, amount, tree)
            yield _case("torch.optim SGD weight_decay", f"{amount}, {tree}", L2, check)
    for amount in (1e-4, 0.1, 0.5):
        for tree in PARAM_SHAPES:
            check = partial(_compare_decoupled_decay, amount, tree)
            yield _case("torch.optim AdamW weight_decay", f"{amount}, {tree}", L2, check)
    penalties: list[tuple[str, Regularizer, Cost]] = [
        ("mse_loss", L2(5.0), lambda w: 5.0 / (2 * N) * _sum_of_squares(w)),
        ("mse_loss", L2(0.01), lambda w: 0.01 / (2 * N) * _sum_of_squares(w)),
        ("l1_loss", L1(0.3), lambda w: 0.3 / N * _sum_of_magnitudes(w)),
        ("l1_loss", L1(7.0), lambda w: 7.0 / N * _sum_of_magnitudes(w)),
        (
            "l1_loss + mse_loss",
            ElasticNet(0.3, 2.0),
            lambda w: 0.3 / N * _sum_of_magnitudes(w) + 1.0 / N * _sum_of_squares(w),
        ),
        ("l1_loss + mse_loss", ElasticNet(0.0, 1.0), lambda w: 0.5 / N * _sum_of_squares(w)),
    ]
    for name, regularizer, cost in penalties:
        for tree in PARAM_SHAPES:
            check = partial(_compare_penalty, regularizer, cost, tree)
            yield _case(f"torch.nn.functional {name}", f"{regularizer}, {tree}", type(regularizer), check)
    yield from _softshrink_samples()
    for l1, l2 in ((0.3, 0.2), (2.0, 0.0), (0.0, 1.0)):
        for tree in PARAM_SHAPES:
            check = partial(_compare_elastic_net, l1, l2, tree)
            yield _case("torch.nn.functional softshrink + torch.optim AdamW", f"{l1} {l2}, {tree}", ElasticNet, check)
    for limit in (0.1, 1.5, 1000.0):
        for tree in ("dense", "conv", "layouts"):
            check = partial(_compare_max_norm, limit, tree)
            yield _case("torch.nn.functional normalize", f"limit {limit}, {tree}", MaxNorm, check)


def _case(suite: str, name: str, subject: type, check: Callable[[], float]) -> Case:
    return Case(suite, torch_version(), name, subject, check, TOLERANCE)


def _compare_weight_decay(amount: float, tree: str) -> float:
    update = TrainingUpdate(Momentum(0.05, 0.5), L2(amount))
    return compare_updates(update, lambda params: torch.optim.SGD(params, 0.05, 0.5, weight_decay=amount), tree)


def _compare_decoupled_decay(amount: float, tree: str) -> float:
    update = TrainingUpdate(Adam(0.05), L2(amount, decoupled=True))
    return compare_updates(update, lambda params: torch.optim.AdamW(params, 0.05, weight_decay=amount), tree)


def _compare_penalty(regularizer: Regularizer, cost: Cost, tree: str) -> float:
    weights, grads = initial_params(tree), [torch.zeros_like(weight) for weight in initial_params(tree)]
    regularizer.add_gradient(weights, grads, N)
    value = regularizer.cost(weights, N)
    expected = pull_back(
        lambda: torch.stack([cost(weight) for weight in weights]).sum(), weights, torch.ones_like(value)
    )
    errors = [relative_error("cost", value, torch.stack([cost(weight) for weight in weights]).sum())]
    errors += [relative_error(f"gradient {k}", *pair) for k, pair in enumerate(zip(grads, expected, strict=True))]
    errors += [
        relative_error(f"weight {k}", *pair) for k, pair in enumerate(zip(weights, initial_params(tree), strict=True))
    ]
    return max(errors)


def _softshrink_samples() -> Iterator[Case]:
    from torch.testing._internal.common_methods_invocations import op_db

    operator = next(entry for entry in op_db if entry.name == "nn.functional.softshrink")
    for dtype, tolerance in DTYPE_TOLERANCES.items():
        suite = f"torch OpInfo {operator.name} {str(dtype).removeprefix('torch.')}"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            samples = list(operator.sample_inputs("cpu", dtype))
        for number, sample in enumerate(samples):
            check = partial(_compare_softshrink, sample.input, sample.kwargs.get("lambd", 0.5))
            yield Case(suite, torch_version(), f"sample {number}", L1, check, tolerance)


def _compare_softshrink(x: Tensor, threshold: float) -> float:
    weight = x.detach().clone()
    L1(threshold / LEARNING_RATE, decoupled=True).shrink([weight], LEARNING_RATE)
    return relative_error("shrunk", weight, F.softshrink(x.detach(), threshold))


def _compare_elastic_net(l1: float, l2: float, tree: str) -> float:
    weights, expected = (
        initial_params(tree),
        [F.softshrink(weight, LEARNING_RATE * l1) for weight in initial_params(tree)],
    )
    ElasticNet(l1, l2, decoupled=True).shrink(weights, LEARNING_RATE)
    adamw = torch.optim.AdamW(expected, LEARNING_RATE, weight_decay=l2)
    for weight in expected:
        weight.grad = torch.zeros_like(weight)
    adamw.step()
    return max(relative_error(f"weight {k}", *pair) for k, pair in enumerate(zip(weights, expected, strict=True)))


def _compare_max_norm(limit: float, tree: str) -> float:
    """Return the worst relative error of MaxNorm against F.normalize, because renorm adds 1e-7 to each norm."""
    weights = [weight for weight in initial_params(tree) if weight.dim() > 1]
    weights[0][0] = 0.0
    errors = []
    for initial in weights:
        limited = initial.clone()
        MaxNorm(limit).after_update([limited])
        rows = initial.reshape(len(initial), -1)
        exceeds = rows.norm(dim=1, keepdim=True) > limit
        expected = torch.where(exceeds, limit * F.normalize(rows, dim=1), rows)
        errors.append(relative_error("limited", limited.reshape(len(limited), -1), expected))
    return max(errors)


def _sum_of_squares(w: Tensor) -> Tensor:
    return F.mse_loss(w, torch.zeros_like(w), reduction="sum")


def _sum_of_magnitudes(w: Tensor) -> Tensor:
    return F.l1_loss(w, torch.zeros_like(w), reduction="sum")
