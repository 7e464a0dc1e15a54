"""MobileNetV2 in plain PyTorch."""

from torch import Tensor, nn

from pellucid.models.mobilenet import LAST_CHANNELS, STAGES, STEM_CHANNELS


def _conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int, inplace: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace)]


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; plus the input if its shape is the same (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, inplace: bool) -> None:
        super().__init__()
        expanded = inputs * expansion
        self.body = nn.Sequential(
            *(_conv(inputs, expanded, 1, 1, 1, inplace) if expansion > 1 else []),
            *_conv(expanded, expanded, 3, stride, expanded, inplace),
            nn.Conv2d(expanded, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.has_skip = stride == 1 and inputs == outputs
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if not self.has_skip:
            return y
        if self.inplace:
            y += x
            return y
        return x + y


def features(inplace: bool) -> list[nn.Module]:
    """Return the layers before the pooling. inplace: whether ReLU6 and sums overwrite their inputs."""
    layers = _conv(3, STEM_CHANNELS, 3, 2, 1, inplace)
    inputs = STEM_CHANNELS
    for expansion, outputs, depth, stride in STAGES:
        for index in range(depth):
            layers.append(InvertedResidual(inputs, outputs, expansion, 1 if index else stride, inplace))
            inputs = outputs
    return [*layers, *_conv(inputs, LAST_CHANNELS, 1, 1, 1, inplace)]


def mobilenet_v2(classes: int, inplace: bool) -> nn.Module:
    """Return MobileNetV2 without dropout."""
    return nn.Sequential(*features(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(LAST_CHANNELS, classes))
