"""DenseNet-121 in plain PyTorch."""

import torch
from torch import Tensor, nn

from pellucid.models.densenet import GROWTH, LAYERS_PER_BLOCK, STEM_CHANNELS


class Layer(nn.Module):
    """A 1 x 1 and a 3 x 3 convolution of all previous maps, with GROWTH output maps (Huang et al. 2017, section 3)."""

    def __init__(self, inputs: int, inplace: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * GROWTH)
        self.conv2 = nn.Conv2d(4 * GROWTH, GROWTH, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu(self.norm1(x)))
        return self.conv2(self.relu(self.norm2(y)))


class Block(nn.Module):
    """Layers whose input is the concatenation of the block's input and the outputs of all earlier layers."""

    def __init__(self, inputs: int, n_layers: int, inplace: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(inputs + index * GROWTH, inplace) for index in range(n_layers))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return torch.cat(maps, 1)


def densenet121(classes: int, inplace: bool) -> nn.Module:
    """Return DenseNet-121. inplace: whether ReLU overwrites its input."""
    relu = nn.ReLU(inplace)
    layers: list[nn.Module] = [
        nn.Conv2d(3, STEM_CHANNELS, 7, 2, 3, bias=False),
        nn.BatchNorm2d(STEM_CHANNELS),
        relu,
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = STEM_CHANNELS
    for index, n_layers in enumerate(LAYERS_PER_BLOCK, start=1):
        layers.append(Block(channels, n_layers, inplace))
        channels += n_layers * GROWTH
        if index < len(LAYERS_PER_BLOCK):
            half = channels // 2
            layers += [nn.BatchNorm2d(channels), relu, nn.Conv2d(channels, half, 1, bias=False), nn.AvgPool2d(2)]
            channels = half
    layers += [nn.BatchNorm2d(channels), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)
