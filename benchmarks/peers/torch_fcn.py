"""FCN-8s on MobileNetV2 in plain PyTorch."""

from torch import Tensor, nn

from benchmarks.peers.torch_mobilenet import InvertedResidual, features


class FCN8(nn.Module):
    """Class scores from feature maps of three sizes, upsampled and added (Long, Shelhamer and Darrell 2015)."""

    def __init__(self, classes: int, inplace: bool) -> None:
        super().__init__()
        self.features = nn.ModuleList(features(inplace))
        self.taps = [  # blocks of stride 2 whose expansions, at 1/8 and 1/16 of the image size, are scored
            index
            for index, block in enumerate(self.features)
            if isinstance(block, InvertedResidual) and block.body[3].stride == (2, 2)
        ][-2:]
        channels_of_taps = [self.features[index].body[0].out_channels for index in self.taps]
        self.scores8, self.scores16 = (nn.Conv2d(channels, classes, 1) for channels in channels_of_taps)
        self.scores32 = nn.Conv2d(1280, classes, 1)
        self.enlarge32, self.enlarge16, self.enlarge8 = (
            nn.ConvTranspose2d(
                classes, classes, 2 * factor - 1, factor, factor - 1, factor - 1, groups=classes, bias=False
            )
            for factor in (2, 2, 8)
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        skips = []
        for index, block in enumerate(self.features):
            if index in self.taps:
                x = block.body[:3](x)
                skips.append(x)
                x = block.body[3:](x)
            else:
                x = block(x)
        skip8, skip16 = (score(skip) for score, skip in zip((self.scores8, self.scores16), skips, strict=True))
        y = self.enlarge32(self.scores32(x))[..., : skip16.shape[2], : skip16.shape[3]] + skip16
        y = self.enlarge16(y)[..., : skip8.shape[2], : skip8.shape[3]] + skip8
        return self.enlarge8(y)[..., :height, :width]


def fcn8(classes: int, inplace: bool) -> nn.Module:
    """Return FCN-8s without dropout. inplace: whether ReLU6 and sums of the backbone overwrite their inputs."""
    return FCN8(classes, inplace)
