"""Occlusion of signals, volumes, vectors and several inputs equals Captum's."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import PellucidError
from tests.oracle import assert_close


class Signals(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(28, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(2 * 2 * 3 * 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ImageAndVector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.vector = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        return self.head(self.image(image).tanh().mean((2, 3)) * self.vector(vector).sigmoid())


def made(kind: Any, *shapes: tuple[int, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return kind().double().eval(), tuple(torch.rand(2, *shape, dtype=torch.float64) for shape in shapes)


CASES: dict[str, tuple[Any, tuple[tuple[int, ...], ...], Any, dict[str, Any]]] = {
    # network, shapes, Captum's windows and strides, options of ours
    "signals": (Signals, ((2, 9),), ((2, 4), (2, 3)), {"square": 4, "stride": 3}),
    "signals, usual": (Signals, ((2, 9),), ((2, 2), (2, 1)), {}),
    "volumes": (Volumes, ((1, 4, 5, 6),), ((1, 2, 2, 2), (1, 2, 2, 2)), {"square": 2, "stride": 2, "fill": 0.3}),
    "two inputs": (
        ImageAndVector, ((3, 8, 8), (5,)), (((3, 2, 2), (1,)), ((3, 1, 1), (1,))), {"square": (2, 1)},
    ),
    "two inputs, fills": (
        ImageAndVector, ((3, 8, 9), (5,)), (((3, 3, 3), (2,)), ((3, 2, 2), (1,))),
        {"square": (3, 2), "stride": (2, 1), "fill": (0.5, -1.0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_maps_equal_captums(name: str) -> None:
    captum = pytest.importorskip("captum.attr")
    kind, shapes, (windows, strides), options = CASES[name]
    network, inputs = made(kind, *shapes)
    given: Any = inputs[0] if len(inputs) == 1 else inputs
    maps = pellucid.open(network, given).explain(given, "occlusion", 1, **options)
    fill = options.get("fill", 0.0 if len(inputs) == 1 else (0.0,) * len(inputs))
    expected = captum.Occlusion(network).attribute(given, windows, strides=strides, target=1, baselines=fill)
    one_each = zip((maps,), (expected,), strict=True) if len(inputs) == 1 else zip(maps, expected, strict=True)
    for map_, reference in one_each:
        assert_close(map_.expand(reference.shape).as_subclass(Tensor), reference, 1e-6)  # Captum adds in float32


def test_tokens_are_hidden_at_their_vectors() -> None:
    torch.manual_seed(0)

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            mask = (x != 0).unsqueeze(-1)
            return self.head((self.table(x).tanh() * mask).sum(1) / mask.sum(1))

    network = Tokens().double().eval()
    x = torch.tensor([[3, 1, 5, 0], [2, 2, 6, 4]])
    map_ = pellucid.open(network, x).explain(x, "occlusion", 2)
    assert map_.shape == (2, 4, 1)
    for position in range(4):
        vectors = network.table(x).detach()
        vectors[:, position] = 0
        mask = (x != 0).unsqueeze(-1)
        hidden = network.head((vectors.tanh() * mask).sum(1) / mask.sum(1))
        assert_close(map_[:, position, 0].as_subclass(Tensor), (network(x) - hidden)[:, 2].detach(), 1e-12)


class Labelled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.head(x * self.table(labels).tanh())


def test_the_vector_of_a_class_is_hidden_as_a_whole() -> None:
    network, (x,) = made(Labelled, (4,))
    inputs = x, torch.tensor([0, 3])
    _, map_ = pellucid.open(network, inputs).explain(inputs, "occlusion", 1)
    assert map_.shape == (2, 1)
    decrease = (network(*inputs) - network.head(torch.zeros_like(x)))[:, 1:2].detach()
    assert_close(map_.as_subclass(Tensor), decrease, 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"square": 10}, "a window of 10 exceeds the input of .2, 9."),
        ({"square": 2, "stride": 3}, "a stride of 3 leaves values"),
        ({"square": (2, 2)}, "one for all, or for each of 1 inputs"),
        ({"square": 0}, "occlusion: square must be"),
        ({"batch": 0}, "occlusion: batch must be"),
    ],
)
def test_invalid_windows_are_refused(options: dict[str, Any], message: str) -> None:
    network, (x,) = made(Signals, (2, 9))
    with pytest.raises(PellucidError, match=message):
        pellucid.open(network, x).explain(x, "occlusion", 0, **options)
