"""What people do to pictures by mistake, undone: candidates for how two parts of data differ."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.data.augment.standardise import FeatureStats
from pellucid.data.dataset import float_images

# What changes no more than size and mean.
OF_SCALE = (
    "not divided by 255",
    "divided by 255 once more",
    "standardised otherwise",
    "standardised twice",
    "standardised not at all",
)
Change = Callable[[Tensor], Tensor]


def changes(x: Tensor, like: Tensor, stats: FeatureStats | None) -> dict[str, Change]:
    """Return what may bring inputs such as x to be as `like`, by what would then be wrong with x.

    x, like: (N, ...), floats. stats: what the model standardises by. Only images can be turned.
    """
    found: dict[str, Change] = {
        "not divided by 255": lambda x: x / 255,
        "divided by 255 once more": lambda x: x * 255,
    }
    if x.dim() != 4:
        return found
    channels, height, width = x.shape[1:]
    low, high = like.amin(), like.amax()
    mean, std = _moments(x)
    wanted, spread = _moments(like)
    found |= {
        "inverted": lambda x: low + high - x,
        "standardised otherwise": lambda x: (x - mean) / std * spread + wanted,
    }
    if stats is not None:
        found["standardised twice"] = lambda x: x * stats.std + stats.mean
        found["standardised not at all"] = lambda x: (x - stats.mean) / stats.std
    if channels > 1:
        found["with channels in reverse order, BGR for RGB"] = lambda x: x.flip(1)
        found["reshaped where axes should be exchanged"] = lambda x: x.reshape(len(x), height, width, channels).movedim(
            -1, 1
        )
    if min(height, width) > 1:
        found |= {"mirrored": lambda x: x.flip(3), "upside down": lambda x: x.flip(2)}
        found["turned by 180 degrees"] = lambda x: x.flip(2, 3)
        if height == width:
            found["with rows and columns exchanged"] = lambda x: x.transpose(2, 3)
            found["turned by 90 degrees anticlockwise"] = lambda x: x.rot90(-1, (2, 3))
            found["turned by 90 degrees clockwise"] = lambda x: x.rot90(1, (2, 3))
    return found


def traits(x: Tensor) -> Tensor:
    """Return what can be told of each input by a few numbers, (N, F).

    Of images the mean and the deviation of each channel, and how far channels are apart; of others the features
    themselves, or their mean and deviation where they are more than 64.
    """
    x = float_images(x)
    if x.dim() == 4 and x.shape[2] * x.shape[3] > 1:
        mean = x.mean((2, 3))
        return torch.cat([mean, x.std((2, 3), correction=0), mean.diff(dim=1)], 1)
    x = x.flatten(1)
    return x if x.shape[1] <= 64 else torch.stack([x.mean(1), x.std(1, correction=0)], 1)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), correction=0, keepdim=True)
    return mean, torch.where(std > 0, std, 1.0)
