"""ResNet-50 in plain PyTorch."""

from torch import Tensor, nn

from pellucid.models.resnet import WIDTHS

DEPTHS = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 convolutions, plus a shortcut (He et al. 2016, figure 5, right)."""

    def __init__(self, inputs: int, filters: int, stride: int, inplace: bool) -> None:
        super().__init__()
        outputs = 4 * filters
        self.conv1 = nn.Conv2d(inputs, filters, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace)
        self.inplace = inplace
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        shortcut = x if self.shortcut is None else self.shortcut(x)
        if self.inplace:
            y += shortcut
        else:
            y = y + shortcut
        return self.relu(y)


def resnet50(classes: int, inplace: bool) -> nn.Module:
    """Return ResNet-50. inplace: whether ReLU and sums overwrite their inputs."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = 64
    for stage, (depth, filters) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        for index in range(depth):
            layers.append(Bottleneck(inputs, filters, 2 if stage and not index else 1, inplace))
            inputs = 4 * filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
