"""Every optimizer equals torch.optim step by step; states are restored exactly; invalid states are refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.optim import (
    OPTIMIZERS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
    pack,
    unpack,
)

TorchOptimizerMaker = Callable[[list[Tensor]], torch.optim.Optimizer]
PATHS = ["conv.weight", "conv.bias", "dense.weight"]


def initial_params(seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((3, 2, 2, 2), (3,), (4, 5))]


def bumpy_loss(params: list[Tensor], step: int) -> Tensor:
    """Return a non-convex loss that changes from step to step, as the loss of a mini-batch does."""
    rng = torch.Generator().manual_seed(step)
    terms = []
    for param in params:
        a, b = (torch.randn(param.shape, generator=rng, dtype=torch.float64) for _ in range(2))
        terms.append((torch.sin(3 * param + a) + 0.1 * (param - b) ** 2).sum())
    return torch.stack(terms).sum() + torch.tanh(params[0].sum() * params[2].sum())


def gradients(params: list[Tensor], step: int) -> list[Tensor]:
    leaves = [param.detach().clone().requires_grad_() for param in params]
    return list(torch.autograd.grad(bumpy_loss(leaves, step), leaves))


def torch_adamw(weight_decay: float, amsgrad: bool = False) -> TorchOptimizerMaker:
    def make(params: list[Tensor]) -> torch.optim.Optimizer:
        groups = [
            {"params": [param for param in params if param.dim() >= 2], "weight_decay": weight_decay},
            {"params": [param for param in params if param.dim() < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=0.02, amsgrad=amsgrad)

    return make


TORCH_PAIRS: dict[str, tuple[Optimizer, TorchOptimizerMaker]] = {
    "sgd": (SGD(lr=0.03), lambda p: torch.optim.SGD(p, lr=0.03)),
    "momentum": (Momentum(lr=0.02), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
    "momentum 0.5": (Momentum(lr=0.05, momentum=0.5), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5)),
    "nesterov": (Nesterov(lr=0.02), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True)),
    "nesterov 0.5": (
        Nesterov(lr=0.05, momentum=0.5),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5, nesterov=True),
    ),
    "adagrad": (Adagrad(lr=0.1), lambda p: torch.optim.Adagrad(p, lr=0.1)),
    "adagrad epsilon": (Adagrad(lr=0.1, epsilon=0.01), lambda p: torch.optim.Adagrad(p, lr=0.1, eps=0.01)),
    "adagrad initial": (
        Adagrad(lr=0.1, initial=0.5),
        lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5),
    ),
    "rmsprop": (RMSprop(lr=0.01), lambda p: torch.optim.RMSprop(p, lr=0.01)),
    "rmsprop rho": (
        RMSprop(lr=0.02, rho=0.9, epsilon=1e-3),
        lambda p: torch.optim.RMSprop(p, lr=0.02, alpha=0.9, eps=1e-3),
    ),
    "rmsprop momentum": (
        RMSprop(lr=0.001, momentum=0.9),
        lambda p: torch.optim.RMSprop(p, lr=0.001, momentum=0.9),
    ),
    "rmsprop centered": (
        RMSprop(lr=0.002, rho=0.9, centered=True),
        lambda p: torch.optim.RMSprop(p, lr=0.002, alpha=0.9, centered=True),
    ),
    "rmsprop centered momentum": (
        RMSprop(lr=0.001, centered=True, momentum=0.5),
        lambda p: torch.optim.RMSprop(p, lr=0.001, centered=True, momentum=0.5),
    ),
    "adam": (Adam(lr=0.02), lambda p: torch.optim.Adam(p, lr=0.02)),
    "adam betas": (
        Adam(lr=0.05, beta1=0.5, beta2=0.9, epsilon=1e-4),
        lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.5, 0.9), eps=1e-4),
    ),
    "adam amsgrad": (
        Adam(lr=0.05, beta2=0.9, amsgrad=True),
        lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.9), amsgrad=True),
    ),
    "adamw": (AdamW(lr=0.02), torch_adamw(0.01)),
    "adamw 0.3": (AdamW(lr=0.02, weight_decay=0.3), torch_adamw(0.3)),
    "adamw amsgrad": (AdamW(lr=0.02, weight_decay=0.3, amsgrad=True), torch_adamw(0.3, amsgrad=True)),
}
each_pair = pytest.mark.parametrize("name", TORCH_PAIRS)
each_kind = pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)


@pytest.mark.slow
@each_pair
def test_a_hundred_steps_equal_torch(name: str) -> None:
    optimizer, make_torch_optimizer = TORCH_PAIRS[name]
    params = initial_params()
    state = optimizer.init(params)
    expected = initial_params()
    torch_optimizer = make_torch_optimizer(expected)
    for step in range(100):
        with torch.inference_mode():
            grads = gradients_in_inference_mode(params, step)
            optimizer.decay([params[0], params[2]], optimizer.lr)  # all but the bias
            optimizer.update(params, grads, state, optimizer.lr)
        for param, grad in zip(expected, gradients(expected, step), strict=True):
            param.grad = grad
        torch_optimizer.step()
        for param, expected_param in zip(params, expected, strict=True):
            torch.testing.assert_close(param, expected_param, rtol=1e-12, atol=1e-13)
    largest_changes = [(a - b).abs().max().item() for a, b in zip(params, initial_params(), strict=True)]
    assert min(largest_changes) > 0.05  # a hundred updates of zero would agree, too


def gradients_in_inference_mode(params: list[Tensor], step: int) -> list[Tensor]:
    with torch.inference_mode(False):
        return gradients(params, step)


def test_weight_decay_applies_to_the_given_paths_of_any_shape() -> None:
    scale, weight = torch.ones(3, 8, 8), torch.ones(2, 5)  # the scale of a LayerNorm over images has three axes
    optimizer = AdamW(lr=0.1, weight_decay=0.5)
    state = optimizer.init([scale, weight])
    optimizer.decay([weight], 0.1)
    optimizer.update([scale, weight], [torch.zeros_like(scale), torch.zeros_like(weight)], state, 0.1)
    assert torch.equal(scale, torch.ones(3, 8, 8))
    torch.testing.assert_close(weight, torch.full((2, 5), 1 - 0.1 * 0.5))
    optimizer.decay([], 0.1)


@each_kind
def test_a_step_uses_the_rate_that_it_is_given(kind: type[Optimizer]) -> None:
    params = initial_params()
    optimizer = kind(lr=0.1)
    optimizer.update(params, gradients(params, 0), optimizer.init(params), 0.0)
    for param, before in zip(params, initial_params(), strict=True):
        assert torch.equal(param, before)


@each_kind
def test_update_leaves_gradients_unchanged_and_changes_parameters_in_place(kind: type[Optimizer]) -> None:
    params = initial_params()
    addresses = [param.data_ptr() for param in params]
    grads = gradients(params, 0)
    grads_before = [grad.clone() for grad in grads]
    optimizer = kind(lr=0.1)
    state = optimizer.init(params)
    for _ in range(2):
        optimizer.update(params, grads, state, 0.1)
    assert [param.data_ptr() for param in params] == addresses
    assert all(torch.equal(grad, grad_before) for grad, grad_before in zip(grads, grads_before, strict=True))


@each_pair
def test_steps_from_a_restored_state_are_bit_identical(name: str) -> None:
    optimizer = TORCH_PAIRS[name][0]

    def run_steps(params: list[Tensor], state: dict[str, list[Tensor] | int], steps: range) -> None:
        for step in steps:
            optimizer.update(params, gradients(params, step), state, optimizer.lr)

    uninterrupted, state = initial_params(), optimizer.init(initial_params())
    run_steps(uninterrupted, state, range(20))
    interrupted, state = initial_params(), optimizer.init(initial_params())
    run_steps(interrupted, state, range(9))
    saved_state = {name: tensor.clone() for name, tensor in pack(state, PATHS).items()}
    resumed = [param.clone() for param in interrupted]
    restored_state = optimizer.init(resumed)
    unpack(restored_state, PATHS, saved_state)
    run_steps(resumed, restored_state, range(9, 20))
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted, resumed, strict=True))


def test_a_constant_gradient_gives_finite_updates() -> None:
    optimizer = RMSprop(lr=0.1, rho=0.5, epsilon=1.0, centered=True)
    param, grad = torch.zeros(64), torch.rand(64, generator=torch.Generator().manual_seed(0)) + 0.1
    state = optimizer.init([param])
    for _ in range(200):  # the variance in float32 becomes a rounding error of either sign
        before = param.clone()
        optimizer.update([param], [grad], state, 0.1)
        assert param.isfinite().all()
    torch.testing.assert_close(before - param, 0.1 * grad, rtol=1e-2, atol=0)


def test_packed_state_is_named_by_moment_and_parameter() -> None:
    params = initial_params()
    assert pack(SGD().init(params), PATHS) == {}
    assert list(pack(Momentum().init(params), PATHS)) == [
        "velocity.conv.weight",
        "velocity.conv.bias",
        "velocity.dense.weight",
    ]
    packed = pack(Adam().init(params), PATHS)
    assert packed["step"].item() == 0
    assert packed["square_mean.dense.weight"].shape == (4, 5)
    assert len(packed) == 7


def test_state_of_another_optimizer_or_network_is_refused() -> None:
    params = initial_params()
    saved = pack(Momentum().init(params), PATHS)
    with pytest.raises(PellucidError, match=r"'mean\.conv\.bias' is missing"):
        unpack(Adam().init(params), PATHS, saved)
    with pytest.raises(PellucidError, match=r"'velocity\.conv\.bias' is unknown"):
        unpack(SGD().init(params), PATHS, saved)
    saved["velocity.conv.bias"] = torch.zeros(4, dtype=torch.float64)
    with pytest.raises(PellucidError, match=r"'velocity\.conv\.bias' is \(4,\)"):
        unpack(Momentum().init(params), PATHS, saved)


@pytest.mark.parametrize(
    ("original_optimizer", "optimizer"),
    [
        (Adam(), Adam(amsgrad=True)),
        (Adam(amsgrad=True), Adam()),
        (AdamW(), AdamW(amsgrad=True)),
        (AdamW(amsgrad=True), AdamW()),
        (RMSprop(), RMSprop(centered=True)),
        (RMSprop(centered=True), RMSprop()),
        (RMSprop(), RMSprop(momentum=0.9)),
        (RMSprop(momentum=0.9), RMSprop()),
    ],
    ids=repr,
)
def test_a_state_made_for_other_options_is_refused_before_anything_changes(
    original_optimizer: Optimizer, optimizer: Optimizer
) -> None:
    params = initial_params()
    state = original_optimizer.init(params)
    before = {name: tensor.clone() for name, tensor in pack(state, PATHS).items()}
    with pytest.raises(PellucidError, match="a state for other options than those of") as caught:
        optimizer.update(params, gradients(params, 0), state, 0.1)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(param, initial) for param, initial in zip(params, initial_params(), strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in pack(state, PATHS).items())


@pytest.mark.parametrize(
    "make",
    [
        *(lambda kind=kind: kind(lr=-0.1) for kind in OPTIMIZERS.values()),
        *(lambda kind=kind: kind(lr=float("nan")) for kind in OPTIMIZERS.values()),
        lambda: Momentum(momentum=1.0),
        lambda: Nesterov(momentum=-0.1),
        lambda: Adagrad(epsilon=0.0),
        lambda: Adagrad(initial=-0.1),
        lambda: RMSprop(rho=1.0),
        lambda: RMSprop(momentum=1.0),
        lambda: Adam(beta1=1.0),
        lambda: Adam(beta2=1.5),
        lambda: AdamW(weight_decay=-1.0),
        lambda: SGD(lr="fast"),  # type: ignore[arg-type]
    ],
)
def test_invalid_hyperparameters_are_refused(make: Callable[[], Optimizer]) -> None:
    with pytest.raises(PellucidError, match="must be a number"):
        make()


def test_optimizers_maps_names_to_classes() -> None:
    assert {
        "sgd": SGD,
        "momentum": Momentum,
        "nesterov": Nesterov,
        "adagrad": Adagrad,
        "rmsprop": RMSprop,
        "adam": Adam,
        "adamw": AdamW,
    } == OPTIMIZERS
