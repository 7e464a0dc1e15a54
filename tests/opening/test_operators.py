"""Each ATen operator that becomes one or more layers: outputs and all gradients equal PyTorch's in float64."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.opening import choice_calls, function_calls, layer_calls, pooling_calls, tensor_calls
from tests.opening.test_opened import assert_equal_gradients, autograd_gradients, images

torch.manual_seed(0)
MASK = torch.rand(16, 16) > 0.5
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv1d": lambda x: F.conv1d(x.flatten(2), torch.ones(4, 3, 3).double(), padding=1),
    "conv1d_same": lambda x: F.conv1d(x.flatten(2), torch.ones(4, 3, 3).double(), padding="same"),
    "conv2d_constant": lambda x: F.conv2d(x, torch.ones(3, 1, 2, 2).double(), stride=2, groups=3),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x.flatten(2), torch.ones(3, 2, 3).double(), stride=2),
    "layer_norm": lambda x: F.layer_norm(x, (16,)),
    "group_norm": lambda x: F.group_norm(x, 3),
    "instance_norm": F.instance_norm,
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat_new_axis": lambda x: x.mean(1).repeat(2, 1, 1, 1).permute(1, 0, 2, 3),
    "tile": lambda x: x.tile(2),
    "einsum": lambda x: torch.einsum("nchw,ncvw->nchv", x, x),
    "masked_fill": lambda x: x.masked_fill(MASK, -1.5),
    "where": lambda x: torch.where(MASK, x, x * 2),
    "unfold": lambda x: F.unfold(x, 3, padding=1, stride=2),
    "fold": lambda x: F.fold(F.unfold(x, 2, stride=2), 16, 2, stride=2),
    "max": lambda x: x.max(2).values,
    "var": lambda x: x.var((1, 2)),
    "std": lambda x: x.std(2, keepdim=True),
    "std_of_constants": lambda x: x / ((x * 0).std(1, keepdim=True) + 0.1),
    "std_unbiased": lambda x: x.std((1, 3), unbiased=False),
    "var_mean": lambda x: torch.stack(torch.var_mean(x, (2, 3)), -1),
    "cumsum": lambda x: x.cumsum(1),
    "flip": lambda x: x.flip(1, 3),
    "log": lambda x: (x.abs() + 0.5).log(),
    "waves": lambda x: x.sin() * x.cos() + torch.erf(x),
    "softplus": lambda x: F.softplus(x, 2.0, 3.0),
    "mish": F.mish,
    "glu": lambda x: F.glu(x, 2),
    "selu": F.selu,
    "rms_norm": lambda x: F.rms_norm(x, (16,), eps=1e-6),
    "reciprocal": lambda x: (x * x + 1).reciprocal(),
    "celu": lambda x: F.celu(x, 2.0),  # PyTorch rounds 1 / alpha to float32, also in float64
    "logsigmoid": lambda x: F.logsigmoid(30 * x),
    "rrelu": lambda x: F.rrelu(x, 0.1, 0.5),
    "threshold": lambda x: F.threshold(x, 0.2, -3.0),
    "hardshrink": lambda x: F.hardshrink(x, 0.3),
    "softshrink": lambda x: F.softshrink(x, 0.3),
    "hardtanh": lambda x: F.hardtanh(x, -0.4, 0.9),
    "logsumexp": lambda x: x.logsumexp((1, 3)),
    "logsumexp_keep": lambda x: x.logsumexp(2, keepdim=True),
    "detach": lambda x: x * x.detach().exp(),
    "grid_sample": lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1) * 1.3, align_corners=False),
    "affine_grid": lambda x: F.grid_sample(
        x,
        F.affine_grid(x[:, :2, 0, :3], (len(x), 3, 9, 5), align_corners=True),
        padding_mode="border",
        align_corners=True,
    ),
    "max_pool1d": lambda x: F.max_pool1d(x.flatten(2), 5, 3, 1, 2, ceil_mode=True),
    "avg_pool1d": lambda x: F.avg_pool1d(x.flatten(2), 5, 3, 2, True, False),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 7),
    "max_pool3d": lambda x: F.max_pool3d(x[:, None].repeat(1, 2, 3, 1, 1), (3, 2, 3), (2, 1, 2), (1, 0, 1), (2, 1, 1)),
    "max_pool3d_of_equal_values": lambda x: F.max_pool3d((x * 0)[:, None].repeat(1, 2, 2, 1, 1) + 1, 2),
    "avg_pool3d": lambda x: F.avg_pool3d(x[:, None].repeat(1, 2, 2, 1, 1), 3, 2, 1, True, False),
    "avg_pool3d_with_padding": lambda x: F.avg_pool3d(x[:, None], (2, 3, 3), (1, 2, 2), (0, 1, 1)),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x[:, None].repeat(1, 2, 2, 1, 1), (2, 3, 5)),
    "addcmul": lambda x: torch.addcmul(x, x, x.exp(), value=0.5),
    "baddbmm": lambda x: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2], beta=0.5, alpha=2),
    "pixel_shuffle": lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 4) * 2, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x.repeat(1, 2, 1, 1), 3),
    "zeros_of_the_number_of_examples": lambda x: x + torch.zeros(len(x), 3, 1, 1).add(2).cumsum(1),
    "movedim": lambda x: x.movedim((1, 3), (2, 1)) * 2,
    "mT": lambda x: x.mT @ x,
    "rows_of_the_number_of_examples": lambda x: (
        x.flatten(0, 1) * torch.arange(3.0).double().repeat(len(x))[:, None, None]
    ).unflatten(0, (-1, 3)),
    "numbers_of_the_export": lambda x: F.interpolate(x * 211, (4, 422)) + 633,
    "upsampled_to_a_number_of_the_export": lambda x: F.interpolate(x, (211, 3)),
    "zeros_like": lambda x: x * (torch.zeros_like(x[:, :1]) + 0.5),
}


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def assert_opens(network: nn.Module) -> pellucid.Model:
    model = pellucid.open(network, images(2))
    for count in (1, 3):
        x = images(count, seed=count)
        y = model(x)
        torch.testing.assert_close(y, network(x).detach(), rtol=1e-12, atol=1e-12)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))
    return model


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_equals_pytorchs(name: str) -> None:
    assert_opens(Function(FUNCTIONS[name]))


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.weight.softmax(0)[:, :, None, None]
        return x * first + x.exp() * second


def test_softmax_along_the_first_axis_of_a_parameter_equals_pytorchs() -> None:
    assert_opens(Mixture())


def test_softmax_over_the_examples_is_refused() -> None:
    with pytest.raises(PellucidError, match=r"softmax \(dim=0, dtype=None\)"):
        pellucid.open(Function(lambda x: x.softmax(0)), images(2))


class Standardized(nn.Conv2d):
    """Qiao et al. 2019, as in timm: a convolution that standardizes its weight in each forward pass."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3)
        self.gain = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(self.weight.reshape(1, 4, -1), None, None, self.gain, training=True, momentum=0.0)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias)


class TwoPaths(nn.Module):
    """A module with two paths, as the position encodings of CoaT."""

    def __init__(self) -> None:
        super().__init__()
        self.encoding = nn.Conv2d(3, 3, 3, padding=1)
        norm = nn.BatchNorm2d(3)
        self.blocks = nn.ModuleList([nn.Sequential(self.encoding, nn.ReLU(), norm), nn.Sequential(self.encoding, norm)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class Scalars(nn.Module):
    """Parameters of one value, with one axis and with none."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.none = nn.Parameter(torch.rand(1)), nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.one.squeeze(0) + self.none.expand(3, 1, 1)


class FullPrecision(nn.Module):
    """A module that disables autocast for a product, as the attention of EfficientViT."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16, elementwise_affine=False)
        self.slope = nn.PReLU(3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            y = x.mT @ x
        return self.slope(self.norm(y) * 2)


class WithSpectralNorm(nn.Module):
    """Convolutions in one, two and three dimensions with parametrized weights, and batch norm in one and three."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3), dim=1)
        self.sequence = nn.utils.parametrizations.spectral_norm(nn.Conv1d(4, 6, 3))
        self.norm = nn.BatchNorm1d(6)
        self.volume = nn.utils.spectral_norm(nn.Conv3d(1, 2, 3))
        self.volume_norm = nn.BatchNorm3d(2)
        for norm in (self.norm, self.volume_norm):
            nn.init.uniform_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.sequence(self.image(x).flatten(2)).relu())
        return self.volume_norm(self.volume(x[:, None, :, :144].unflatten(3, (12, 12))))


@pytest.mark.parametrize("kind", [Standardized, TwoPaths, Scalars, FullPrecision, WithSpectralNorm])
def test_network_equals_pytorchs(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert_opens(kind().double().eval())


def test_module_with_two_paths_is_one_node_with_two_uses() -> None:
    torch.manual_seed(0)
    uses = {row.path: row.uses for row in pellucid.open(TwoPaths().double(), images(2)).summary().rows}
    assert uses == {"encoding": 2, "blocks.0.1": 1, "blocks.0.2": 2, "add": 1, "add~2": 1}


def test_weights_of_a_module_with_two_paths_load_into_the_network() -> None:
    torch.manual_seed(0)
    network = TwoPaths().double().eval()
    model = pellucid.open(network, images(2))
    model.weights["encoding.weight"].mul_(2)
    network.load_state_dict(model.state_dict())
    torch.testing.assert_close(network(images(3)).detach(), model(images(3)), rtol=1e-12, atol=1e-12)


def test_arithmetic_in_place_on_the_input_leaves_the_input_unchanged() -> None:
    network = Function(lambda x: x.mul_(2).add_(1).sigmoid_())
    x = images(2)
    model = pellucid.open(network, x)
    y = model(x)
    assert torch.equal(x, images(2))
    torch.testing.assert_close(y, (2 * x + 1).sigmoid())
    gradients = model.gradients(x, torch.ones_like(y))
    torch.testing.assert_close(gradients["input"], 2 * y * (1 - y))


def test_random_numbers_are_refused() -> None:
    with pytest.raises(PellucidError, match=r"no layer for 1 operator: rand, 1 call"):
        pellucid.open(Function(lambda x: x + torch.rand(16)), images(2))


def test_no_operator_is_translated_by_two_tables() -> None:
    tables = (layer_calls, pooling_calls, tensor_calls, function_calls, choice_calls)
    counts = Counter(name for table in tables for name in table.TRANSLATIONS)
    assert not [name for name, count in counts.items() if count > 1], "only the last of these has an effect"
