"""Training in bfloat16: which parameters are converted, and that every layer then trains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.layers import BatchNorm, Conv2d, Layer, Mode
from pellucid.layers.base import Params
from pellucid.losses import Loss
from pellucid.nested import flatten
from pellucid.objective import Supervised
from pellucid.optim import SGD
from pellucid.training.device import usable_precision
from pellucid.training.step import TrainingStep
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.oracle import Sample, assert_close, cast, leaves, tree_map
from tests.own.parts import Scale
from tests.references import reference_forward

pytestmark = pytest.mark.skipif(
    usable_precision("bf16")[0] != "bf16", reason="this processor has no bfloat16 instructions"
)


class Product(Loss):
    """The sum of outputs times targets, which are the gradient; `output` is the last output."""

    output: Tensor

    def __call__(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        object.__setattr__(self, "output", y)
        return super().__call__(y, target)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return (y * target).sum(), target


def check_update(layer: Layer, params: Params, x: Tensor, function: Callable[[Params], Tensor]) -> Params:
    """Compare an update in bfloat16 with autograd's gradient of `function`, and return the updated parameters."""
    params = cast(params, torch.float32)
    before = tree_map(torch.clone, params)
    rounded = tree_map(lambda leaf: leaf.bfloat16().double(), params)
    learned = {name: leaf.requires_grad_() for name, leaf in rounded.items() if name not in layer.buffers}
    y = function(rounded)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    gradients = torch.autograd.grad(y, list(learned.values()), dy.double())
    loss = Product()
    step = TrainingStep(Supervised(layer, loss), params, SGD(1.0), examples=len(x), precision="bf16")
    step(Batch(x.float(), dy), 1.0)
    assert loss.output.dtype is torch.bfloat16, "the next layer would receive another type than its weights have"
    assert all(leaf.dtype is torch.float32 for leaf in params.values())
    assert_close(
        {name: before[name] - params[name] for name in learned},
        dict(zip(learned, gradients, strict=True)),
        0.05,
        "update",
    )
    return params


def is_trained(sample: Sample) -> bool:
    """Return whether a sample's layer has parameters in training mode, and its input is that of a whole network."""
    params, x = sample.inputs()
    return isinstance(x, Tensor) and bool(params) and (sample.train or not sample.layer.buffers)


@each_sample(sample for sample in SAMPLES if is_trained(sample))
def test_every_layer_with_parameters_trains_in_bf16(sample: Sample) -> None:
    params, x = sample.inputs(max(sample.batches))
    x = x.bfloat16().double()
    check_update(sample.layer, params, x, lambda learned: reference_forward(sample.layer, learned, x, Mode(train=True)))


@dataclass(frozen=True)
class CountedProduct(Layer):
    """A product with a learned matrix, with the running sum of the inputs."""

    buffers: ClassVar[tuple[str, ...]] = ("total",)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {"matrix": torch.eye(*shape), "total": torch.zeros(shape)}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, tuple[Tensor]]:
        params["total"] += x.float().sum(0)
        return x @ params["matrix"], (x,)

    def backward(self, params: Params, cache: tuple[Tensor], dy: Tensor) -> tuple[Tensor, Params]:
        return dy @ params["matrix"].t(), {"matrix": cache[0].t() @ dy}


def test_layers_of_users_train_in_bf16_and_keep_their_statistics() -> None:
    rng = torch.Generator().manual_seed(4)
    images = torch.randn((6, 3, 4, 5), generator=rng).bfloat16().double()
    check_update(Scale(), {"factor": torch.randn((3, 1, 1), generator=rng)}, images, lambda p: p["factor"] * images)
    rows = images[:, 0, 0]
    params = {"matrix": torch.randn((5, 5), generator=rng), "total": torch.zeros(5)}
    trained = check_update(CountedProduct(), params, rows, lambda p: rows @ p["matrix"])
    torch.testing.assert_close(trained["total"].double(), rows.sum(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen", [("conv.weight", "conv.bias"), ("norm.weight", "norm.bias")])
def test_any_part_of_a_network_may_be_frozen_in_bf16(frozen: tuple[str, ...]) -> None:
    net = Sequential(conv=Conv2d(4, 3), norm=BatchNorm())
    params, shape = net.init((2, 6, 5), torch.Generator().manual_seed(0))
    before = {path: leaf.clone() for path, leaf in flatten(params).items()}
    step = TrainingStep(Supervised(net, Product()), params, SGD(1.0), examples=6, precision="bf16", frozen=frozen)
    rng = torch.Generator().manual_seed(1)
    step(Batch(torch.randn((6, 2, 6, 5), generator=rng), torch.randn((6, *shape), generator=rng)), 1.0)
    changed = {path for path, leaf in leaves(params).items() if not leaf.equal(before[path])}
    assert {path for path in changed if "running" not in path} == set(step.paths)
