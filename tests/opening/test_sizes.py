"""Image sizes that an opened network accepts."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.base.errors import PellucidError
from tests.opening.networks import ConvNeXt, EfficientNet, MobileNetV3, ResNet, ShuffleNet, Swin, UNet, ViT
from tests.opening.test_opened import assert_equal_gradients, autograd_gradients, build_network, images


@pytest.mark.parametrize("kind", [ResNet, ConvNeXt, EfficientNet, MobileNetV3, ShuffleNet])
def test_convolutional_networks_take_images_of_another_size(kind: type[nn.Module], tmp_path: Path) -> None:
    network = build_network(kind).eval()
    model = pellucid.open(network, images(2))
    assert model.input_shape == (3, None, None)
    model.save(tmp_path / "opened.safetensors")
    x = torch.randn(2, 3, 20, 28, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for one in (model, pellucid.Model.load(tmp_path / "opened.safetensors")):
        torch.testing.assert_close(one(x), network(x).detach(), rtol=1e-12, atol=1e-12)
    dy = torch.randn(2, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))


def test_networks_whose_layers_need_the_size_of_the_example_keep_it() -> None:
    for kind in (ViT, Swin, UNet):
        model = pellucid.open(build_network(kind), images(2))
        assert model.input_shape == (3, 16, 16)
        with pytest.raises(PellucidError, match=r"the network takes \(3, 16, 16\)"):
            model(torch.zeros(1, 3, 32, 32))


class SizeDependentPadding(nn.Module):
    """A padding that depends on whether the height is odd, as in networks from TensorFlow."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, 0, 0, x.shape[2] % 2)), 2).flatten(2).sum(2)


def test_a_padding_that_depends_on_the_size_keeps_the_size_fixed() -> None:
    assert pellucid.open(SizeDependentPadding(), images(2)).input_shape == (3, 16, 16)


class ResizedPositions(nn.Module):
    """A position for each of the 40 x 40 patches of the example; they are resized for other numbers of patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 4, 40, 40))

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x)
        same = y.shape[2:] == self.positions.shape[2:]
        return (y + (self.positions if same else F.interpolate(self.positions, y.shape[2:]))).sum((2, 3))


def test_positions_that_are_resized_for_other_sizes_keep_the_size_fixed() -> None:
    x = torch.randn(2, 3, 160, 160, dtype=torch.float64)
    model = pellucid.open(ResizedPositions().double(), x)
    assert model.input_shape == (3, 160, 160)


class EvenSizesOnly(nn.Module):
    """Raises ValueError unless height and width are multiples of 32."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 32 or x.shape[3] % 32:
            raise ValueError("a multiple of 32")
        return F.avg_pool2d(x, 32).mean((2, 3))


@pytest.mark.parametrize("side", [64, 160])
def test_networks_that_accept_only_multiples_of_32_have_a_free_size(side: int) -> None:
    assert pellucid.open(EvenSizesOnly(), torch.rand(1, 3, side, side)).input_shape == (3, None, None)


class StoresSize(nn.Module):
    """A window that shrinks to the image and stays small, as in transformers' Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.window, self.seen, self.options = 200, list[int](), {"a": 1}
        self.same = self.options

    def forward(self, x: Tensor) -> Tensor:
        self.window = min(self.window, x.shape[2])
        self.seen.append(x.shape[2])
        return x[:, :, : self.window, : self.window].mean((2, 3))


def test_attributes_set_while_other_sizes_are_tried_are_restored() -> None:
    network, x = StoresSize(), torch.rand(2, 3, 224, 224)
    pellucid.open(network, x)  # also runs a smaller image
    assert (network.window, network.seen) == (200, [])
    assert network.options is network.same
