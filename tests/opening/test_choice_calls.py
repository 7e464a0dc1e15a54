"""Operators that choose values by their size or by indices, and other functions of networks that people post.

Each is between two linear maps; outputs and the gradient of the input equal PyTorch's.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid
from pellucid.base.errors import PellucidError
from tests.oracle import assert_close

ROWS, TOKENS, IMAGES, VOLUMES = (3, 6), (3, 4, 6), (3, 4, 6, 6), (3, 2, 4, 6, 6)
MASK = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) > 0.6


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Between(nn.Module):
    """A function of a linear map of the last axis."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x))


def written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, torch.tensor([0, 2])] = 0.5
    y[y < 0] = 0.0
    return y


def masked(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, MASK] = 0.0
    return y


def sparse_gates(x: Tensor) -> Tensor:
    values, positions = x.topk(2, -1)
    return torch.zeros_like(x).scatter(-1, positions, values.softmax(-1)) * x


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...]]] = {
    "topk": (lambda x: x.topk(3, 1)[0], ROWS),
    "smallest": (lambda x: x.topk(2, 1, largest=False)[0], ROWS),
    "sort": (lambda x: x.sort(1, descending=True)[0], TOKENS),
    "median": (lambda x: x.median(1)[0], ROWS),
    "kthvalue": (lambda x: x.kthvalue(2, 1, keepdim=True)[0], TOKENS),
    "min": (lambda x: x.max(1)[0] - x.min(1, keepdim=True)[0][:, 0], IMAGES),
    "amin": (lambda x: x.amin((1, 2)), TOKENS),
    "cummax": (lambda x: x.cummax(1)[0] + x.cummin(1)[0], TOKENS),
    "argmax": (lambda x: x.argmax(1), ROWS),
    "second of max": (lambda x: x.max(1)[1], TOKENS),
    "hard attention": (lambda x: x.gather(1, x.argmax(1, keepdim=True)), ROWS),
    "argsort": (lambda x: torch.take_along_dim(x, x.argsort(1), 1), TOKENS),
    "repeated indices": (lambda x: torch.take_along_dim(x, x[:, :1].argmax(2, keepdim=True), 2), TOKENS),
    "one-hot": (lambda x: x * F.one_hot(x.argmax(1), 6), ROWS),
    "straight-through": (lambda x: F.one_hot(x.argmax(1), 6).to(x) - x.detach() + x, ROWS),
    "gates": (sparse_gates, TOKENS),
    "own position": (lambda x: x[torch.arange(x.size(0)), x[:, :, 0].argmax(1)], TOKENS),
    "two indices": (lambda x: x[:, [0, 1], [2, -1]], TOKENS),
    "triangle": (lambda x: (x @ x.mT)[:, torch.triu_indices(4, 4)[0], torch.triu_indices(4, 4)[1]], TOKENS),
    "mask of columns": (lambda x: x[:, torch.tensor([True, False, True, False, True, True])], ROWS),
    "written": (written, ROWS),
    "written where a mask is True": (masked, TOKENS),
    "last position of each": (lambda x: x[torch.arange(x.size(0)), (x > 9).long().sum((1, 2)) - 1], TOKENS),
    "last position of all": (lambda x: x[torch.arange(x.size(0)), -1], TOKENS),
    "position in a later axis": (lambda x: x[torch.arange(x.size(0)), :, x[:, 0].argmax(1)], TOKENS),
    "row in a middle axis": (lambda x: x[torch.arange(len(x)), :, x.mean((1, 3)).argmax(1) - 6], IMAGES),
    "position in the last axis": (lambda x: x[torch.arange(len(x)), ..., x[:, 0, 0].argmin(1)], IMAGES),
    "position in rows": (lambda x: x[torch.arange(x.size(0)), (x > 0).long().sum(1) - 1], ROWS),
    "index_fill": (lambda x: x.index_fill(1, torch.tensor([1]), 0.3), TOKENS),
    "any, all": (lambda x: (x > 0).any(1).to(x) + (x > -1).all(1) * x[:, 0], TOKENS),
    "exclusive or": (lambda x: ((x > 0) ^ (x > 0.2)).to(x.dtype) * x, ROWS),
    "count": (lambda x: (x * (x > 0)).sum(1) / (x > 0).long().sum(1).clamp(min=1), ROWS),
    "remainder": (lambda x: x % 0.3 + x.frac(), ROWS),
    "steps": (lambda x: x * (x.detach() // 0.1) + torch.div(x, 0.2, rounding_mode="floor") + x.trunc(), ROWS),
    "not a number": (lambda x: torch.nan_to_num(x).masked_fill(x.isinf() | x.isnan(), 0.0), ROWS),
    "norm 1": (lambda x: F.normalize(x, p=1.0, dim=1), ROWS),
    "largest size": (lambda x: x.norm(p=float("inf"), dim=1), ROWS),
    "distances": (lambda x: torch.cdist(x, x[:, :2] + 1), TOKENS),
    "distances 1": (lambda x: torch.cdist(x, 2 * x, p=1), TOKENS),
    "bilinear": (lambda x: F.bilinear(x, x, torch.linspace(-1, 1, 72).view(2, 6, 6), torch.ones(2)), TOKENS),
    "tensordot": (lambda x: torch.tensordot(x, torch.linspace(-1, 1, 48).view(4, 6, 2), dims=([1, 2], [0, 1])), TOKENS),
    "product": (lambda x: x.prod(1), ROWS),
    "transmittance": (lambda x: torch.cumprod(1 - x.sigmoid(), 1), ROWS),
    "log-add-exp": (lambda x: torch.logaddexp(x, 2 * x), ROWS),
    "angle of the origin": (lambda x: torch.atan2(x.relu(), 2 * x.relu()) + x, ROWS),
    "angle": (lambda x: torch.atan2(x, x.flip(1) + 2), ROWS),
    "matrices": (lambda x: torch.mm(x, torch.linspace(-1, 1, 24).view(6, 4)), ROWS),
    "scaled sum": (lambda x: torch.add(x, x * x, alpha=2) - torch.sub(x, x * x, alpha=3), ROWS),
    "kernels of each example": (
        lambda x: F.conv2d(
            x.view(1, -1, 6, 6), (x.mean((2, 3))[:, :2, None] * torch.ones(4)).view(-1, 4, 1, 1), groups=x.size(0)
        ).view(x.size(0), -1, 6, 6),
        IMAGES,
    ),
    "trilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), VOLUMES),
    "corners": (lambda x: F.interpolate(x, size=(3, 4, 9), mode="trilinear", align_corners=True), VOLUMES),
    "nearest voxel": (lambda x: F.interpolate(x, size=(3, 4, 9)), VOLUMES),
    "nearest-exact": (lambda x: F.interpolate(x, size=(4, 5), mode="nearest-exact"), IMAGES),
    "even kernel, same": (lambda x: F.conv1d(x, torch.linspace(-1, 1, 32).view(2, 4, 4), padding="same"), TOKENS),
    "no scale": (nn.BatchNorm1d(6, affine=False, dtype=torch.float64).eval(), ROWS),
    "alpha dropout": (nn.AlphaDropout(0.3).eval(), ROWS),
}


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], str]] = {
    "norm of order 3": (lambda x: x.norm(p=3, dim=1), ROWS, "a norm of order 3"),
    "distances of order 1.5": (lambda x: torch.cdist(x, x, p=1.5), TOKENS, "a norm of order 1.5"),
    "distances of order 0": (lambda x: torch.cdist(x, x, p=0.0), TOKENS, "a norm of order 0"),
    "larger source": (lambda x: x.scatter(1, x[:, :3].argsort(1), 2 * x), ROWS, "a source of another size"),
    "first half of the rows": (
        lambda x: torch.cat([x, 2 * x])[torch.arange(x.size(0))], ROWS, "depends on the number of examples"
    ),
    "two positions of each": (
        lambda x: x[torch.arange(x.size(0)), x[:, :, 0].argmax(1), x[:, 0].argmax(1)], TOKENS, "its indices are comp"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_choices_without_a_layer_are_refused_by_name(name: str) -> None:
    function, shape, message = REFUSED[name]
    with pytest.raises(PellucidError, match=message):
        pellucid.open(Between(function).eval(), torch.rand(shape), loss="quadratic")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_outputs_and_gradients_equal_pytorchs(name: str) -> None:
    function, shape = FUNCTIONS[name]
    torch.manual_seed(0)
    network = Between(function).eval()
    x = torch.rand(shape, requires_grad=True)
    model = pellucid.open(network, x.detach(), loss="quadratic")
    expected = network(x)
    assert_close(model(x.detach()).double(), expected.detach().double(), 1e-11)
    if not expected.requires_grad:
        return
    dy = torch.randn(expected.shape)
    gradients = model.gradients(x.detach(), dy)
    assert_close(gradients["input"], torch.autograd.grad(expected, x, dy, retain_graph=True)[0], 1e-10)
    assert_close(gradients["linear.weight"], torch.autograd.grad(expected, network.linear.weight, dy)[0], 1e-10)


def test_maps_of_a_class_number_are_those_of_the_scores_before_it() -> None:
    torch.manual_seed(0)
    scores = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    x = torch.rand(*ROWS)
    numbers = pellucid.open(nn.Sequential(scores, nn.Softmax(1), Argmax()), x)
    assert torch.equal(numbers(x), scores(x).argmax(1))
    for target in (2, None):
        assert_close(numbers.explain(x, target=target), pellucid.open(scores, x).explain(x, target=target), 1e-12)


class Argmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(dim=1)


def test_training_by_a_norm_without_a_scale_equals_pytorchs() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    other = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False), nn.ReLU(), nn.Linear(5, 3))
    other.load_state_dict(network.state_dict())
    batches = [(torch.rand(8, 6), torch.randint(3, (8,))) for _ in range(4)]
    pellucid.from_torch(network, loss=nn.CrossEntropyLoss(), optimizer=optimizer, train=batches).fit(5, verbose=False)
    other_optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    for x, y in batches * 5:
        other_optimizer.zero_grad()
        F.cross_entropy(other(x), y).backward()
        other_optimizer.step()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-9, atol=1e-12)
