"""The layers, losses and data of the usual mistakes are right or wrong as they say."""

import pytest
import torch

from benchmarks.doctor.cases.usual.parts import (
    Accumulating,
    ClippedCrossEntropy,
    Detached,
    IntegerWarmup,
    MyDense,
    MyDropout,
    MyFlatten,
    MyLogSoftmax,
    MySigmoid,
    MySoftmax,
    PairwiseSquares,
    PickedLoss,
    Rounded,
    UnitLength,
)
from benchmarks.doctor.cases.usual.pictures import frames, split
from benchmarks.doctor.material import arrows, material
from pellucid.layers.base import Layer, Mode
from pellucid.losses import Loss
from pellucid.optim import Progress

pytestmark = pytest.mark.slow

CORRECT_LAYERS = [
    MySoftmax(), MySoftmax(0), MyLogSoftmax(), MyLogSoftmax(0), MySigmoid(), MyFlatten(), MyFlatten(mixed=True),
    UnitLength(), MyDense(3), MyDropout(0.5),
]  # fmt: skip


@pytest.mark.parametrize("layer", CORRECT_LAYERS, ids=repr)
def test_correct_layers_have_autograds_gradients(layer: Layer) -> None:
    x = torch.randn(4, 6, dtype=torch.float64) if isinstance(layer, MyDense) else torch.randn(4, 3, 2, 2).double()
    dx, expected = gradients(layer, x)
    torch.testing.assert_close(dx, expected)


@pytest.mark.parametrize("layer", [MySigmoid(wrong=True), Detached()], ids=repr)
def test_wrong_layers_have_other_gradients(layer: Layer) -> None:
    dx, expected = gradients(layer, torch.randn(4, 3, 2, 2).double())
    assert not torch.allclose(dx, expected)


def gradients(layer: Layer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    params, _ = layer.init(tuple(x.shape[1:]), torch.Generator().manual_seed(0))
    params = {name: value.double() for name, value in params.items()}
    x.requires_grad_()
    y, cache = layer.forward(params, x, Mode(train=True, rng=torch.Generator().manual_seed(1)))
    dy = torch.randn_like(y)
    (expected,) = torch.autograd.grad((y * dy).sum(), x)
    with torch.no_grad():
        return layer.backward(params, cache, dy)[0], expected


def test_rounding_has_a_gradient_of_0() -> None:
    assert Rounded().backward({}, None, torch.ones(2, 3))[0].eq(0).all()


@pytest.mark.parametrize(
    ("loss", "outputs", "target"),
    [
        (PickedLoss(), 4, torch.tensor([0, 3, 1])),
        (ClippedCrossEntropy(1.0), 4, torch.tensor([0, 3, 1])),
        (PairwiseSquares(), 1, torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)),
    ],
    ids=repr,
)
def test_losses_have_autograds_gradients(loss: Loss, outputs: int, target: torch.Tensor) -> None:
    y = (2 * torch.randn(3, outputs, dtype=torch.float64)).requires_grad_()
    value, dy = loss.compute(y, target)
    (expected,) = torch.autograd.grad(value, y)
    torch.testing.assert_close(dy.detach(), expected)


def test_gradients_accumulate() -> None:
    optimizer, param = Accumulating(0.1), torch.zeros(1)
    state = optimizer.init([param])
    for _ in range(3):
        optimizer.update([param], [torch.ones(1)], state, 0.1)
    assert param.item() == pytest.approx(-0.1 * (1 + 2 + 3))


def test_a_warmup_of_integers_is_0_until_its_end() -> None:
    assert [IntegerWarmup(3).at(Progress(step, 5, 5)) for step in range(5)] == [0, 0, 0, 1, 1]


def test_arrows_point_in_the_direction_of_their_class() -> None:
    data = arrows(400, 0)
    inner = data.x[:, 0]
    mean = [inner[data.y == k].mean(0) for k in range(4)]
    assert mean[0][:, :8].sum() > mean[0][:, 8:].sum()  # the head is at the left
    assert mean[1][:, :8].sum() < mean[1][:, 8:].sum()
    assert mean[2][:8].sum() > mean[2][8:].sum()
    assert mean[3][:8].sum() < mean[3][8:].sum()


def test_frames_of_a_clip_lie_side_by_side() -> None:
    small_part, _ = split(material("digits", 0)[0], 0.99, 0)
    clips = frames(small_part, 4, 0)
    assert len(clips) == 4 * len(small_part)
    assert clips.y.view(-1, 4).eq(small_part.y[:, None]).all()
