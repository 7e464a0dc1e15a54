"""Explanations of inputs other than one batch of images (N, C, H, W): channels last, sequences, volumes, several."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import PellucidError
from pellucid.explain import METHODS, explain
from pellucid.explain.checks import deletion, insertion
from pellucid.explain.infidelity import infidelity
from pellucid.explain.road import road
from tests.oracle import assert_close

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
SIZES = {1: (16,), 2: (8, 12), 3: (6, 8, 4)}


class Network(nn.Module):
    """Two convolutions in 1 to 3 dimensions, with weights that may be computed, after a centring of the input."""

    def __init__(self, dimensions: int, last: bool = False, computed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = last
        self.first = CONV[dimensions](3, 4, 3, padding=1)
        self.pool = POOL[dimensions](2)
        self.second = CONV[dimensions](4, 5, 3, padding=1)
        if computed:
            nn.utils.parametrizations.weight_norm(self.second)
        self.scores = nn.Linear(5, 3)
        self.axes = tuple(range(2, 2 + dimensions))

    def maps(self, x: Tensor) -> Tensor:
        x = x - 0.5
        if self.last:
            x = x.movedim(-1, 1)
        return self.second(self.pool(torch.relu(self.first(x))))

    def rest(self, maps: Tensor) -> Tensor:
        return self.scores(torch.relu(maps).mean(self.axes))

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.maps(x))


def images(dimensions: int) -> Tensor:
    return torch.rand(2, 3, *SIZES[dimensions], generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_gradcam_of_any_convolution_equals_autograds(dimensions: int, computed: bool) -> None:
    network = Network(dimensions, computed=computed).double()
    x = images(dimensions)
    model = pellucid.open(network, x)
    layer = (
        next(path for path in model.net.layers if path.startswith("second") and "conv" in path)
        if (computed or dimensions != 2)
        else "second"
    )
    maps = network.maps(x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.rest(maps)[:, 1].sum(), maps)
    expected = (gradient.mean(network.axes, keepdim=True) * maps).sum(1, keepdim=True).detach()
    ours = model.explain(x, "gradcam", 1, layer=layer, signed=True, upsample=False)
    assert_close(ours.as_subclass(Tensor), expected, 1e-12)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[dimensions]
    resized = model.explain(x, "gradcam", 1, layer=layer, signed=True)
    assert_close(resized.as_subclass(Tensor), F.interpolate(expected, SIZES[dimensions], mode=mode), 1e-12)
    relevant = F.relu(network.maps(x).detach()).requires_grad_()  # the last maps before the mean, by default
    (gradient,) = torch.autograd.grad(network.scores(relevant.mean(network.axes))[:, 1].sum(), relevant)
    expected = (gradient.mean(network.axes, keepdim=True) * relevant).sum(1, keepdim=True).clamp_min(0).detach()
    by_default = model.explain(x, "gradcam", 1, upsample=False)
    assert_close(by_default.as_subclass(Tensor), expected, 1e-12)
    assert abs(model.ledger(x, 1).gap) < 1e-12


@pytest.mark.parametrize(
    "method", sorted(set(METHODS) - {"rollout", "smoothgrad"})
)  # smoothgrad draws in another order
def test_every_method_explains_channels_last_as_channels_first(method: str) -> None:
    last, first = Network(2, last=True).double(), Network(2).double()
    x = images(2)
    expected = pellucid.open(first, x).explain(x, method, 1).as_subclass(Tensor)
    images_last = x.movedim(1, -1).contiguous()
    model = pellucid.open(last, images_last)
    ours = model.explain(images_last, method, 1).as_subclass(Tensor)
    assert ours.shape[:3] == images_last.shape[:3]
    assert bool(expected.any())
    assert_close(ours.movedim(-1, 1), expected, 1e-12)


def test_curves_and_filled_squares_of_channels_last_are_those_of_channels_first() -> None:
    x = images(2)
    images_last = x.movedim(1, -1).contiguous()
    first, last = pellucid.open(Network(2).double(), x), pellucid.open(Network(2, last=True).double(), images_last)
    map_ = first.explain(x, "lrp", 1)
    for curve in (deletion, insertion, road):
        expected = curve(first.net, first.params, x, 1, map_).scores
        ours = curve(last.net, last.params, images_last, 1, map_.movedim(1, -1)).scores
        assert_close(ours, expected, 1e-12)
    expected = infidelity(first.net, first.params, x, 1, map_).value
    assert_close(infidelity(last.net, last.params, images_last, 1, map_.movedim(1, -1)).value, expected, 1e-12)
    fill = torch.tensor([0.1, 0.5, 0.9]).double()
    expected = first.explain(x, "occlusion", 1, fill=fill[:, None, None]).as_subclass(Tensor)
    assert_close(
        last.explain(images_last, "occlusion", 1, fill=fill).as_subclass(Tensor).movedim(-1, 1), expected, 1e-12
    )


class TwoInputs(nn.Module):
    """An image and another one, or an image and a vector."""

    def __init__(self, vector: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vector = vector
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Linear(5, 4) if vector else nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.scores = nn.Linear(8, 3)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        left = torch.relu(self.left(x)).mean((2, 3))
        right = torch.tanh(self.right(z))
        return self.scores(torch.cat([left, right if self.vector else right.mean((2, 3))], 1))


def two_inputs(vector: bool) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, 8, 9, generator=rng).double()
    return x, torch.rand(2, 5, generator=rng).double() if vector else torch.rand(2, 1, 6, 6, generator=rng).double()


@pytest.mark.parametrize("vector", [False, True])
def test_each_of_several_inputs_is_explained(vector: bool) -> None:
    from captum.attr import InputXGradient, IntegratedGradients, Saliency

    network = TwoInputs(vector).double()
    inputs = two_inputs(vector)
    model = pellucid.open(network, inputs)
    theirs: dict[str, Any] = {
        "saliency": Saliency(network).attribute(tuple(x.clone().requires_grad_() for x in inputs), target=1),
        "input_x_gradient": InputXGradient(network).attribute(
            tuple(x.clone().requires_grad_() for x in inputs), target=1
        ),
        "integrated_gradients": IntegratedGradients(network).attribute(
            inputs, target=1, n_steps=10, method="gausslegendre"
        ),
    }
    for method, expected in theirs.items():
        ours = model.explain(inputs, method, 1, **({"steps": 10} if method == "integrated_gradients" else {}))
        assert len(ours) == 2
        for map_, reference in zip(ours, expected, strict=True):
            assert_close(map_.as_subclass(Tensor), reference.detach(), 1e-8, method)
    relevance = model.explain(inputs, "lrp", 1)
    account = model.ledger(inputs, 1)
    assert account.input == pytest.approx(sum(float(map_.sum()) for map_ in relevance), abs=1e-12)
    assert abs(account.gap) < 1e-12
    assert [map_.shape for map_ in model.explain(inputs, "smoothgrad", 1)] == [x.shape for x in inputs]


def test_gradcam_explains_the_input_that_its_layer_depends_on() -> None:
    network = TwoInputs().double()
    inputs = two_inputs(False)
    model = pellucid.open(network, inputs)
    left, right = model.explain(inputs, "gradcam", 1, layer="left")
    assert right is None
    assert left.shape == (2, 1, 8, 9)
    left, right = model.explain(inputs, "gradcam", 1, layer="right")
    assert left is None
    assert right.shape == (2, 1, 6, 6)
    assert [map_.shape for map_ in model.explain(inputs, "occlusion", 1)] == [(2, 1, *x.shape[2:]) for x in inputs]


def test_a_baseline_for_each_input_is_taken() -> None:
    from captum.attr import IntegratedGradients

    network = TwoInputs().double()
    inputs = two_inputs(False)
    baselines = tuple(torch.full_like(x, 0.3) for x in inputs)
    expected = IntegratedGradients(network).attribute(inputs, baselines, target=1, n_steps=10, method="gausslegendre")
    model = pellucid.open(network, inputs)
    ours = model.explain(inputs, "integrated_gradients", 1, steps=10, baseline=baselines)
    for map_, reference in zip(ours, expected, strict=True):
        assert_close(map_.as_subclass(Tensor), reference, 1e-9)


def test_a_single_channel_that_is_moved_by_reshape_counts_as_last() -> None:
    """As TensorFlow's converter to ONNX writes the transpose of (N, H, W, 1)."""

    class Grey(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 4, 3, padding=1, stride=2)
            self.scores = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.scores(self.conv(x.reshape(-1, 1, 8, 12)).relu().mean((2, 3)))

    network = Grey().double()
    x = torch.rand(2, 8, 12, 1, generator=torch.Generator().manual_seed(1)).double()
    model = pellucid.open(network, x)
    first = pellucid.open(network, x.movedim(-1, 1))
    for method in ("gradcam", "occlusion"):
        expected = first.explain(x.movedim(-1, 1), method, 1).as_subclass(Tensor)
        assert_close(model.explain(x, method, 1).as_subclass(Tensor).movedim(-1, 1), expected, 1e-12)


def test_a_map_of_channels_last_is_drawn(tmp_path: Path) -> None:
    images_last = images(2).movedim(1, -1).contiguous()
    map_ = pellucid.open(Network(2, last=True).double(), images_last).explain(images_last, "gradcam", 1)
    map_.save(tmp_path / "map.png")
    assert (tmp_path / "map.png").exists()
    assert map_.is_drawable


def test_a_module_of_an_opened_network_names_the_output_of_its_last_operator() -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU()), nn.Flatten(), nn.Linear(24, 3)).double()
    x = torch.rand(2, 3, 8).double()
    model = pellucid.open(module, x)
    maps = model.explain(x, "gradcam", 1, layer="0", signed=True, upsample=False).as_subclass(Tensor)
    a = module[0](x).detach().requires_grad_()
    (da,) = torch.autograd.grad(module[2](module[1](a))[:, 1].sum(), a)
    assert_close(maps, (da.mean(2, keepdim=True) * a).sum(1, keepdim=True).detach(), 1e-12)
    with pytest.raises(PellucidError, match="no layer '1x'"):
        model.explain(x, "gradcam", 1, layer="1x")


def test_gradcam_of_a_layer_inside_a_node_explains_the_inputs_of_the_node() -> None:
    """Networks by hand may have nodes with layers of their own, whose paths begin with the node's name."""
    body = pellucid.Sequential(conv=pellucid.Conv2d(4, 3), relu=pellucid.ReLU())
    nodes = {
        "body": (body, "a"), "flat": (pellucid.Flatten(), "body"), "left": (pellucid.Dense(3), "flat"),
        "right": (pellucid.Dense(3), "b"), "sum": (pellucid.Add(), "left", "right"),
    }  # fmt: skip
    net = pellucid.Graph(nodes, ("sum",), ("a", "b"))
    params, _ = net.init(((2, 6, 6), (5,)), torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    maps = explain(
        net, params, (torch.rand(2, 2, 6, 6, generator=rng), torch.rand(2, 5)), "gradcam", 1, layer="body.conv"
    )
    assert maps[0].shape == (2, 1, 6, 6)
    assert maps[1] is None


@pytest.mark.parametrize("method", ["deeplift", "smoothgrad", "integrated_gradients"])
def test_inputs_of_one_number_and_baselines_by_number_are_explained(method: str) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)) + 2 * z, torch.tanh(z) - x[:, 0, 0, 0]], 1)

    x, z = torch.rand(2, 1, 4, 4).double(), torch.rand(2).double()
    model = pellucid.open(Scaled(), (x, z))
    options = {} if method == "smoothgrad" else {"baseline": (0.5, torch.ones(()).double())}
    maps = model.explain((x, z), method, 0, **options)
    assert [map_.shape for map_ in maps] == [x.shape, z.shape]
    slope = maps[1].as_subclass(Tensor) / (1 if method == "smoothgrad" else z - 1)
    assert_close(slope, torch.full_like(z, 2.0), 1e-9)
