"""DCGAN: a generator and a discriminator of strided convolutions."""

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.layers import BatchNorm, Conv2d, ConvTranspose2d, Flatten, LeakyReLU, ReLU, Reshape, Tanh
from pellucid.layers.base import Layer

KERNEL = 4  # twice the stride, so that every output pixel gets equally many shares: no checkerboard
SMALLEST = 4  # height and width of the first maps, at least
SLOPE = 0.2  # of LeakyReLU
DRAWN = "gan"  # the initializer


def dcgan_generator(size: int = 64, channels: int = 3, width: int = 64) -> Sequential:
    """Return DCGAN's generator: from latent vectors (N, latent) to images (N, channels, size, size) in -1 to 1.

    3,576,704 parameters with 100 latent numbers. width: the channels of the last maps before the image; each
    transposed convolution before has twice as many. The first maps have the odd factor of `size`, or 4 x 4.
    Source: Radford, Metz and Chintala 2016, figure 1; its sizes are those of the authors' code.
    """
    start, doublings = _levels(size)
    layers: dict[str, Layer] = {"reshape": Reshape((-1, 1, 1))}
    for level in range(1, doublings + 1):
        filters = width * 2 ** (doublings - level)
        # The first one is a dense layer whose outputs are maps.
        kernel, stride, padding = (start, 1, 0) if level == 1 else (KERNEL, 2, 1)
        up = ConvTranspose2d(filters, kernel, stride=stride, padding=padding, bias=False, init_weight=DRAWN)
        layers |= {f"up{level}": up, f"norm{level}": BatchNorm(), f"relu{level}": ReLU()}
    last = ConvTranspose2d(channels, KERNEL, stride=2, padding=1, bias=False, init_weight=DRAWN)
    return Sequential(**layers, image=last, tanh=Tanh())


def dcgan_discriminator(size: int = 64, width: int = 64, norm: bool = True) -> Sequential:
    """Return DCGAN's discriminator: from images (N, C, size, size) to one logit each, (N, 1).

    2,765,568 parameters for RGB images. norm: batch normalization after each convolution but the first and the last.
    Without it, convolutions have biases and He's initial weights, and every layer is piecewise linear, as
    `gradient_penalty` needs.
    Source: Radford, Metz and Chintala 2016, section 3; its sizes are those of the authors' code.
    """
    start, halvings = _levels(size)
    weights = DRAWN if norm else "he"
    layers: dict[str, Layer] = {}
    for level in range(1, halvings + 1):
        normed = norm and level > 1
        filters = width * 2 ** (level - 1)
        layers[f"conv{level}"] = Conv2d(filters, KERNEL, stride=2, padding=1, bias=not norm, init_weight=weights)
        if normed:
            layers[f"norm{level}"] = BatchNorm()
        layers[f"act{level}"] = LeakyReLU(SLOPE)
    return Sequential(**layers, score=Conv2d(1, start, bias=not norm, init_weight=weights), flatten=Flatten())


def _levels(size: int) -> tuple[int, int]:
    """Return the size of the smallest maps, and how often it is doubled; PellucidError where there is none."""
    start, doublings = size, 0
    while start % 2 == 0 and start >= 2 * SMALLEST:
        start, doublings = start // 2, doublings + 1
    if not doublings or start >= 2 * SMALLEST:
        raise PellucidError(f"size={size} must be 4, 5, 6 or 7 times a power of 2, such as 28, 32 or 64")
    return start, doublings
