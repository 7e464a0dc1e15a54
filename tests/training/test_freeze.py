"""Frozen parameters and learning-rate factors by path, compared with parameter groups in PyTorch."""

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.data import Batch
from pellucid.fuse.frozen import FrozenLayer, freeze
from pellucid.layers import AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Dense, Flatten, Identity, ReLU
from pellucid.layers.base import Layer, Mode
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.nested import flatten, map_tree
from pellucid.objective import Supervised
from pellucid.optim import SGD, Adam, AdamW, Momentum, Optimizer
from pellucid.optim.base import State, tensors_of
from pellucid.optim.regularizers import L2
from pellucid.training.parameter_groups import parameter_groups, update_groups
from pellucid.training.step import TrainingStep

SHAPE = (3, 8, 8)


def objective(net: Layer) -> Supervised:
    return Supervised(net, SoftmaxCrossEntropy())


def small_network() -> Layer:
    body = Sequential(conv2=Conv2d(4, 3, padding=1, bias=False), norm2=BatchNorm(), relu2=ReLU())
    features = Sequential(
        conv1=Conv2d(4, 3, padding=1, bias=False),
        norm1=BatchNorm(),
        relu1=ReLU(),
        block=Parallel((Identity(), body), Add()),
    )
    return Sequential(features=features, head=Sequential(pool=AdaptiveAvgPool2d(1), flatten=Flatten(), scores=Dense(3)))


class TorchNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.scores = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = x + F.relu(self.norm2(self.conv2(x)))
        return self.scores(x.mean((2, 3)))


def params_and_torch_twin() -> tuple[dict, TorchNetwork]:
    params, _ = small_network().init(SHAPE, torch.Generator().manual_seed(3))
    params = map_tree(torch.Tensor.double, params)
    torch_network = TorchNetwork().double()
    flat = by_short_name(params)
    with torch.no_grad():
        for name, tensor in torch_network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(flat[name])
    return params, torch_network


def batches() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(5)
    return [(torch.randn(6, *SHAPE, generator=rng).double(), torch.randint(3, (6,), generator=rng)) for _ in range(4)]


def by_short_name(params: dict) -> dict[str, Tensor]:
    return {".".join(path.split(".")[-2:]): tensor for path, tensor in flatten(params).items()}


LR_FACTORS = {"conv2.weight": 0.1, "norm2.weight": 0.1, "norm2.bias": 0.1, "scores.weight": 1.0, "scores.bias": 1.0}
OPTIMIZER_PAIRS = [
    (SGD(0.1), lambda groups: torch.optim.SGD(groups, 0.1)),
    (Momentum(0.1, 0.9), lambda groups: torch.optim.SGD(groups, 0.1, 0.9)),
    (Adam(0.01), lambda groups: torch.optim.Adam(groups, 0.01)),
]


@pytest.mark.parametrize(("optimizer", "make_torch_optimizer"), OPTIMIZER_PAIRS, ids=["sgd", "momentum", "adam"])
def test_frozen_layers_are_unchanged_and_the_others_use_their_learning_rates(
    optimizer: Optimizer, make_torch_optimizer
) -> None:
    params, torch_network = params_and_torch_twin()
    before = copy.deepcopy(params)
    paths = list(flatten(params))
    frozen = {path for path in paths if ".conv1." in path or path.endswith(("norm1.weight", "norm1.bias"))}
    rates = {path: 0.1 for path in paths if "block" in path and not path.endswith(("mean", "var"))}
    step = TrainingStep(objective(small_network()), params, optimizer, examples=24, frozen=frozen, rates=rates)

    torch_network.train()
    torch_network.norm1.eval()
    torch_params = dict(torch_network.named_parameters())
    for name in ("conv1.weight", "norm1.weight", "norm1.bias"):
        torch_params[name].requires_grad_(False)
    torch_optimizer = make_torch_optimizer(
        [{"params": [torch_params[name]], "lr": factor * optimizer.lr} for name, factor in LR_FACTORS.items()]
    )
    for x, target in batches():
        value = step(Batch(x, target), optimizer.lr)
        torch_optimizer.zero_grad()
        loss = F.cross_entropy(torch_network(x), target)
        loss.backward()
        torch_optimizer.step()
        assert value["loss"] == pytest.approx(loss.item(), rel=1e-10)
    actual, initial = by_short_name(params), by_short_name(before)
    for name, tensor in torch_network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(actual[name], tensor, rtol=1e-9, atol=1e-12)
    for name in ("conv1.weight", "norm1.bias", "norm1.running_mean", "norm1.running_var"):
        assert torch.equal(actual[name], initial[name])
    assert not torch.equal(actual["norm2.running_mean"], initial["norm2.running_mean"])


def test_weight_decay_is_scaled_by_the_learning_rate_factors() -> None:
    params, torch_network = params_and_torch_twin()
    rates = {path: 0.1 for path in flatten(params) if "features" in path}
    step = TrainingStep(objective(small_network()), params, AdamW(0.01, weight_decay=0.2), examples=1, rates=rates,
        regularizers=(L2(0.05, decoupled=True),),
    )  # fmt: skip
    decayed_names = ("conv1.weight", "conv2.weight", "scores.weight")
    groups = [
        {
            "params": [tensor],
            "lr": 0.01 if name.startswith("scores") else 0.001,
            "weight_decay": 0.2 if name in decayed_names else 0.0,
        }
        for name, tensor in torch_network.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups)
    torch_network.train()
    for x, target in batches():
        step(Batch(x, target), 0.01)
        optimizer.zero_grad()
        F.cross_entropy(torch_network(x), target).backward()
        with torch.no_grad():
            for group, (name, tensor) in zip(groups, torch_network.named_parameters(), strict=True):
                tensor.mul_(1 - group["lr"] * 0.05 if name in decayed_names else 1.0)
        optimizer.step()
    actual = by_short_name(params)
    for name, tensor in torch_network.named_parameters():
        torch.testing.assert_close(actual[name], tensor.data, rtol=1e-9, atol=1e-12)


def test_frozen_first_layers_cache_nothing_and_have_no_backward_pass() -> None:
    params, _ = params_and_torch_twin()
    frozen = {path for path in flatten(params) if path.startswith("features") and not path.endswith(("mean", "var"))}
    net = freeze(small_network(), params, frozen)
    assert isinstance(net, Sequential)
    assert isinstance(net.layers["features"], FrozenLayer)
    step = TrainingStep(objective(small_network()), params, Momentum(0.1), examples=6, frozen=frozen)
    _, cache = step.objective.net.forward(step.params, step.inputs(batches()[0][0]), Mode(True))
    assert cache["features"] == ()
    assert step.paths == ["head.scores.weight", "head.scores.bias"]


@pytest.fixture
def model() -> Model:
    return Model(small_network(), optimizer=Momentum(0.1), input_shape=SHAPE, classes=3)


def test_patterns_freeze_parameters_and_changed_patterns_are_refused_on_resume(model: Model, tmp_path: Path) -> None:
    x, y = batches()[0]
    model.freeze("features.*")
    model.unfreeze("features.block.*")
    model.scale_rate("features.*", 0.1)
    before = {path: tensor.clone() for path, tensor in model.weights.items()}
    model.fit(x.float(), y, epochs=2, batch_size=3, run=tmp_path / "run", verbose=False)
    unchanged_paths = {path for path, tensor in model.weights.items() if torch.equal(tensor, before[path])}
    assert unchanged_paths == {path for path in before if path.startswith(("features.conv1", "features.norm1"))}
    model.unfreeze()
    assert model.frozen == set()
    with pytest.raises(PellucidError, match="begun with other settings: frozen parameters"):
        model.fit(x.float(), y, epochs=2, batch_size=3, run=tmp_path / "run", resume=True, verbose=False)


def test_the_optimizer_state_of_parameter_groups_is_restored() -> None:
    rates = {path: 0.1 for path in flatten(params_and_torch_twin()[0]) if "features" in path}

    def make_step(params: dict) -> TrainingStep:
        return TrainingStep(objective(small_network()), params, Adam(0.01), examples=24, rates=rates)

    uninterrupted_params, _ = params_and_torch_twin()
    uninterrupted = make_step(uninterrupted_params)
    for x, target in batches():
        uninterrupted(Batch(x, target), 0.01)
    resumed_params, _ = params_and_torch_twin()
    interrupted = make_step(resumed_params)
    for x, target in batches()[:2]:
        interrupted(Batch(x, target), 0.01)
    resumed = make_step(resumed_params)
    resumed.load_state_dict(interrupted.state_dict())
    for x, target in batches()[2:]:
        resumed(Batch(x, target), 0.01)
    assert all(
        torch.equal(tensor, flatten(resumed_params)[path]) for path, tensor in flatten(uninterrupted_params).items()
    )


@dataclass(frozen=True)
class Rebinding(Optimizer):
    """Momentum that replaces the tensors of its state in every update."""

    lr: float = 0.01

    def init(self, params: list[Tensor]) -> State:
        return {"mean": [torch.zeros_like(param) for param in params]}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        state["mean"] = [0.9 * mean + grad for mean, grad in zip(tensors_of(state, "mean"), grads, strict=True)]
        for param, mean in zip(params, tensors_of(state, "mean"), strict=True):
            param.sub_(mean, alpha=lr)


def test_an_optimizer_that_replaces_its_state_keeps_it_with_several_learning_rates() -> None:
    rng = torch.Generator().manual_seed(0)
    weights = [torch.randn(3, generator=rng) for _ in range(3)]
    actual, expected = [weight.clone() for weight in weights], [weight.clone() for weight in weights]
    paths, rates = ["a", "b", "c"], {"b": 2.0}
    groups, state, means = parameter_groups(paths, actual, (), rates), Rebinding().init(actual), [0.0] * 3
    for _ in range(4):
        grads = [torch.randn(3, generator=rng) for _ in range(3)]
        update_groups(groups, Rebinding(), (), [grad.clone() for grad in grads], state, 0.1)
        for k, grad in enumerate(grads):
            means[k] = 0.9 * means[k] + grad
            expected[k] -= 0.1 * rates.get(paths[k], 1.0) * means[k]
    for actual_weight, expected_weight in zip(actual, expected, strict=True):
        torch.testing.assert_close(actual_weight, expected_weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.freeze("featuers.*"), "the nearest is 'features"),
        (lambda model: model.freeze(["features.*"]), "a path pattern must be a string such as 'features"),
        (lambda model: model.freeze(None), "not None; give a string"),
        (lambda model: model.scale_rate("features.*", 0), "factor must be a number above 0"),
        (
            lambda model: (model.freeze("*"), model.fit(*batches()[0], epochs=1, batch_size=3)),
            "every parameter is frozen",
        ),
    ],
)
def test_invalid_patterns_and_rates_are_refused(model: Model, call, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        call(model)


def test_freezing_a_model_without_weights_is_refused() -> None:
    with pytest.raises(PellucidError, match="no weights yet"):
        Model(small_network()).freeze("features.*")
