"""The training step, compared with PyTorch's autograd and torch.optim on the same network and batches."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Parallel, Sequential
from pellucid.data import Batch
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    Identity,
    LayerNorm,
    MaxPool2d,
    ReLU,
)
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.nested import flatten, map_tree
from pellucid.objective import Supervised
from pellucid.optim import SGD, Adam, MaxNorm, Momentum, Optimizer
from pellucid.optim.regularizers import L1, L2, Regularizer
from pellucid.training import device
from pellucid.training.step import TrainingStep, decayed_paths

EXAMPLES = 50
LAM = 3.0


def objective(net: Layer) -> Supervised:
    return Supervised(net, SoftmaxCrossEntropy())


def residual_network() -> Layer:
    body = Sequential(
        conv2=Conv2d(4, 3, padding=1, bias=False),
        norm2=BatchNorm(),
        act2=ReLU(),
        conv3=Conv2d(4, 3, padding=1, bias=False),
        norm3=BatchNorm(),
    )
    return Sequential(
        conv1=Conv2d(4, 3),
        act1=ReLU(),
        pool=MaxPool2d(2),
        block=Parallel({"skip": Identity(), "body": body}, Add()),
        act=ReLU(),
        mean=AdaptiveAvgPool2d(2),
        flatten=Flatten(),
        dense1=Dense(6),
        act4=ReLU(),
        dense2=Dense(3),
    )


PATHS_IN_TORCH_ORDER = (  # paths of the parameters in pellucid, in the order of TorchNetwork.parameters()
    "conv1.weight",
    "conv1.bias",
    "block.body.conv2.weight",
    "block.body.norm2.weight",
    "block.body.norm2.bias",
    "block.body.conv3.weight",
    "block.body.norm3.weight",
    "block.body.norm3.bias",
    "dense1.weight",
    "dense1.bias",
    "dense2.weight",
    "dense2.bias",
)


class TorchNetwork(nn.Module):
    """The network of `residual_network` in torch.nn, with the weights `flat`."""

    def __init__(self, flat: dict[str, Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv3, self.norm3 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.dense1, self.dense2 = nn.Linear(16, 6), nn.Linear(6, 3)
        self.double()
        with torch.no_grad():
            for path, parameter in zip(PATHS_IN_TORCH_ORDER, self.parameters(), strict=True):
                parameter.copy_(flat[path])

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(x + self.norm3(self.conv3(F.relu(self.norm2(self.conv2(x))))))
        return self.dense2(F.relu(self.dense1(F.adaptive_avg_pool2d(x, 2).flatten(1))))


def new_network(dtype: torch.dtype = torch.float64) -> tuple[Layer, Params]:
    net = residual_network()
    params, _ = net.init((2, 10, 9), torch.Generator().manual_seed(0))
    return net, map_tree(lambda leaf: leaf.to(dtype), params)


def batches(count: int = 5) -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [
        (torch.randn(7, 2, 10, 9, generator=rng, dtype=torch.float64), torch.randint(0, 3, (7,), generator=rng))
        for _ in range(count)
    ]


def decay_groups(parameters: list[nn.Parameter]) -> list[dict[str, object]]:
    """Return parameter groups in which weights with two or more axes decay by LAM / EXAMPLES, and others do not."""
    decayed = [parameter for parameter in parameters if parameter.dim() > 1]
    not_decayed = [parameter for parameter in parameters if parameter.dim() == 1]
    return [{"params": decayed, "weight_decay": LAM / EXAMPLES}, {"params": not_decayed}]


def float_tensors(cache: object) -> list[Tensor]:
    """Return all floating-point tensors of a cache."""
    if isinstance(cache, Tensor):
        return [cache] if cache.is_floating_point() else []
    parts = cache.values() if isinstance(cache, dict) else cache if isinstance(cache, tuple) else ()
    return [leaf for part in parts for leaf in float_tensors(part)]


OPTIMIZER_CASES: dict[
    str, tuple[Optimizer, tuple[Regularizer, ...], float | None, Callable[..., torch.optim.Optimizer]]
] = {
    "sgd, which learns in the sweep": (SGD(0.1), (), None, lambda p: torch.optim.SGD(p, 0.1)),
    "sgd with L2": (SGD(0.1), (L2(LAM),), None, lambda p: torch.optim.SGD(decay_groups(p), 0.1)),
    "sgd with decoupled L2": (
        SGD(0.1),
        (L2(LAM / EXAMPLES, decoupled=True),),
        None,
        lambda p: torch.optim.SGD(decay_groups(p), 0.1),
    ),
    "sgd, clipped": (SGD(0.1), (), 0.05, lambda p: torch.optim.SGD(p, 0.1)),
    "momentum with L2": (Momentum(0.1, 0.9), (L2(LAM),), None, lambda p: torch.optim.SGD(decay_groups(p), 0.1, 0.9)),
    "adam": (Adam(0.01), (), None, lambda p: torch.optim.Adam(p, 0.01)),
}


@pytest.mark.parametrize("case", OPTIMIZER_CASES)
def test_updates_equal_torch(case: str) -> None:
    optimizer, regularizers, clip, make_torch_optimizer = OPTIMIZER_CASES[case]
    net, params = new_network()
    torch_network = TorchNetwork(flatten(params))
    step = TrainingStep(
        Supervised(net, SoftmaxCrossEntropy()),
        params,
        optimizer,
        examples=EXAMPLES,
        regularizers=regularizers,
        clip=clip,
    )
    torch_optimizer = make_torch_optimizer(list(torch_network.parameters()))
    for x, target in batches():
        torch_optimizer.zero_grad()
        loss = F.cross_entropy(torch_network(x), target)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(torch_network.parameters(), clip)
        torch_optimizer.step()
        with torch.inference_mode():
            value = step(Batch(x, target), optimizer.lr)
        assert value["loss"] == pytest.approx(loss.item(), rel=1e-11)
    for path, parameter in zip(PATHS_IN_TORCH_ORDER, torch_network.parameters(), strict=True):
        torch.testing.assert_close(flatten(params)[path].clone(), parameter.detach(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(
        flatten(params)["block.body.norm2.running_var"].clone(), torch_network.norm2.running_var, rtol=1e-10, atol=0
    )


def test_paths_lists_all_trained_parameters() -> None:
    net, params = new_network()
    step = TrainingStep(objective(net), params, SGD(0.1), examples=EXAMPLES)
    assert sorted(step.paths) == sorted(PATHS_IN_TORCH_ORDER)
    flat = flatten(params)
    assert all(weight is flat[path] for path, weight in zip(step.paths, step.weights, strict=True))


def test_max_norm_limits_weights_after_l1_but_not_biases() -> None:
    net, params = new_network()
    biases = {path: leaf for path, leaf in flatten(params).items() if leaf.dim() == 1}
    step = TrainingStep(
        Supervised(net, SoftmaxCrossEntropy()),
        params,
        SGD(0.0),
        examples=1,
        regularizers=(L1(1.0, decoupled=True), MaxNorm(0.5)),
    )
    x, target = batches(1)[0]
    step(Batch(x, target), 0.01)  # the learning rate is 0.01, so L1 shrinks weights by 0.01
    for path, leaf in flatten(params).items():
        if path.endswith("weight") and leaf.dim() > 1:
            assert leaf.flatten(1).norm(dim=1).max() <= 0.5 + 1e-12
    assert any(leaf.norm() > 0.5 for leaf in biases.values())  # neither regularizer changes biases


def test_bf16_follows_autocast_and_keeps_float32_parameters() -> None:
    if device.usable_precision("bf16")[0] != "bf16":
        pytest.skip("this processor has no bfloat16 instructions")
    net, params = new_network(torch.float32)
    torch_network = TorchNetwork({path: leaf.double() for path, leaf in flatten(params).items()}).float()
    step = TrainingStep(objective(net), params, SGD(0.05), examples=EXAMPLES, precision="bf16")
    torch_optimizer = torch.optim.SGD(torch_network.parameters(), 0.05)
    initial = {path: leaf.clone() for path, leaf in flatten(params).items()}
    for x, target in batches(3):
        torch_optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(torch_network(x.float()), target)
        loss.backward()
        torch_optimizer.step()
        value = step(Batch(x.float(), target), 0.05)
        assert value["loss"] == pytest.approx(loss.item(), rel=0.02, abs=0.02)
    for path, parameter in zip(PATHS_IN_TORCH_ORDER, torch_network.parameters(), strict=True):
        weight = flatten(params)[path]
        assert weight.dtype is torch.float32
        change, expected_change = weight - initial[path], parameter.detach() - initial[path]
        assert (change - expected_change).norm() <= 0.1 * expected_change.norm() + 1e-4, path


def test_bf16_caches_take_half_the_memory() -> None:
    if device.usable_precision("bf16")[0] != "bf16":
        pytest.skip("this processor has no bfloat16 instructions")

    def cache_bytes(precision: str) -> int:
        net, params = new_network(torch.float32)
        step = TrainingStep(objective(net), params, SGD(0.05), examples=EXAMPLES, precision=precision)
        _, cache = step.objective.net.forward(step.params, step.inputs(torch.zeros(64, 2, 10, 9)), Mode(True))
        storages = [leaf.untyped_storage() for leaf in float_tensors(cache)]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    assert cache_bytes("bf16") < 0.51 * cache_bytes("float32")


def test_a_processor_without_bf16_is_reported_and_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    net, params = new_network(torch.float32)
    step = TrainingStep(objective(net), params, SGD(0.05), examples=EXAMPLES, precision="bf16")
    assert step.precision == "float32"
    assert "bfloat16" in step.note


def test_an_unknown_precision_suggests_the_nearest() -> None:
    net, params = new_network()
    with pytest.raises(PellucidError, match="did you mean 'bf16'"):
        TrainingStep(objective(net), copy.deepcopy(params), SGD(0.1), examples=1, precision="bf61")


def test_parameters_without_effect_on_the_output_are_unchanged() -> None:
    nodes = {"used": (Dense(3), "input"), "dead": (Dense(4), "input")}
    net = Graph(nodes, ("used",))
    params, _ = net.init((5,), torch.Generator().manual_seed(0))
    before = params["dead"]["weight"].clone()
    step = TrainingStep(objective(net), params, Adam(0.01), examples=4)
    for _ in range(3):
        step(Batch(torch.randn(4, 5), torch.tensor([0, 1, 2, 0])), 0.01)
    assert torch.equal(params["dead"]["weight"], before)


def test_scales_of_normalization_are_not_regularized() -> None:
    net = Sequential(conv=Conv2d(4, 3), norm=LayerNorm(), up=ConvTranspose2d(2, 3), flatten=Flatten(), dense=Dense(3))
    assert decayed_paths({"": net}) == {"conv.weight", "up.weight", "dense.weight"}
