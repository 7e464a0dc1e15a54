"""DCGAN: a generator and a discriminator of strided convolutions."""

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import BatchNorm, Conv2d, ConvTranspose2d, Flatten, LeakyReLU, ReLU, Reshape, Tanh
from pellucid.layers.base import Layer

KERNEL = 4  # twice the stride: each output pixel is in the same number of windows, which avoids checkerboard patterns
MIN_SIDE = 4  # smallest side of the smallest maps
SLOPE = 0.2  # of LeakyReLU
INITIALIZER = "gan"


def dcgan_generator(size: int = 64, channels: int = 3, width: int = 64) -> Sequential:
    """Return DCGAN's generator, which maps vectors (N, latent) to images (N, channels, size, size) in -1 to 1.

    It has 3,576,704 parameters for latent vectors of length 100. width: the channels of the last maps before the image;
    from each transposed convolution to the next, the number of channels is halved. The first maps have a side of 4, 5,
    6 or 7: `size` divided by a power of 2. Raises PellucidError for other sizes.
    Source: Radford, Metz and Chintala 2016, figure 1, with the sizes of the authors' code.
    """
    min_side, doublings = _side_and_doublings(size)
    layers: dict[str, Layer] = {"reshape": Reshape((-1, 1, 1))}
    for level in range(1, doublings + 1):
        filters = width * 2 ** (doublings - level)
        # On a 1 x 1 input, the first transposed convolution is a dense layer that outputs maps.
        kernel, stride, padding = (min_side, 1, 0) if level == 1 else (KERNEL, 2, 1)
        up = ConvTranspose2d(filters, kernel, stride=stride, padding=padding, bias=False, init_weight=INITIALIZER)
        layers |= {f"up{level}": up, f"norm{level}": BatchNorm(), f"relu{level}": ReLU()}
    image_conv = ConvTranspose2d(channels, KERNEL, stride=2, padding=1, bias=False, init_weight=INITIALIZER)
    return Sequential(**layers, image=image_conv, tanh=Tanh())


def dcgan_discriminator(size: int = 64, width: int = 64, norm: bool = True) -> Sequential:
    """Return DCGAN's discriminator, which maps images (N, C, size, size) to logits (N, 1).

    It has 2,765,568 parameters for RGB images. norm: whether batch normalization follows each convolution except the
    first and the last. Without it, convolutions have biases and He's initial weights, and every layer is piecewise
    linear, as `gradient_penalty` needs.
    Source: Radford, Metz and Chintala 2016, section 3, with the sizes of the authors' code.
    """
    min_side, halvings = _side_and_doublings(size)
    init_weight = INITIALIZER if norm else "he"
    layers: dict[str, Layer] = {}
    for level in range(1, halvings + 1):
        has_norm = norm and level > 1
        filters = width * 2 ** (level - 1)
        layers[f"conv{level}"] = Conv2d(filters, KERNEL, stride=2, padding=1, bias=not norm, init_weight=init_weight)
        if has_norm:
            layers[f"norm{level}"] = BatchNorm()
        layers[f"act{level}"] = LeakyReLU(SLOPE)
    return Sequential(**layers, score=Conv2d(1, min_side, bias=not norm, init_weight=init_weight), flatten=Flatten())


def _side_and_doublings(size: int) -> tuple[int, int]:
    """Return the side of the smallest maps and the number of doublings to `size`.

    Raises PellucidError unless `size` is 4, 5, 6 or 7 times a power of 2.
    """
    side = size
    doublings = 0
    while side % 2 == 0 and side >= 2 * MIN_SIDE:
        side, doublings = side // 2, doublings + 1
    if not doublings or side >= 2 * MIN_SIDE:
        raise PellucidError(f"size={size} must be 4, 5, 6 or 7 times a power of 2, such as 28, 32 or 64")
    return side, doublings
