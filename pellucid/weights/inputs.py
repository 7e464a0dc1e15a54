"""What published weights were trained on: the images' size, and how their numbers are scaled."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pellucid.errors import PellucidError


@dataclass(frozen=True)
class Input:
    """How images become the input of a network.

    size: height and width. resize: to which the shorter side is brought before the middle is cut out; None where the
    whole image is brought to `size`. mean and std: of each channel of an image in 0..1, in RGB. order: of the
    channels that the network reads.
    """

    size: int
    resize: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: Literal["RGB", "BGR"] = "RGB"

    def scale(self, images: Tensor) -> Tensor:
        """Return (images - mean) / std in the network's order; images: (N, 3, H, W), RGB in 0..1, of any size.

        Raises PellucidError for images of another shape or of whole numbers.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise PellucidError(
                f"published weights take colour images (N, 3, height, width) in 0..1, not {images.dtype} of shape "
                f"{tuple(images.shape)}; convert them"
            )
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device)[:, None, None]
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device)[:, None, None]
        scaled = (images - mean) / std
        return scaled.flip(1) if self.order == "BGR" else scaled


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's images
_HALF = (0.5, 0.5, 0.5)
# Keras calls its ways "torch", "tf" (-1..1) and "caffe" (0..255 less the mean, BGR).
_CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
_CAFFE_STD = (1 / 255, 1 / 255, 1 / 255)

TORCHVISION = Input(224, 256, _MEAN, _STD)
TORCHVISION_V2 = Input(224, 232, _MEAN, _STD)
# Trained in TensorFlow: torchvision's own functions turn their input from the line above to -1..1 at their start.
TORCHVISION_GOOGLENET = Input(224, 256, _HALF, _HALF)
TORCHVISION_INCEPTION = Input(299, 342, _HALF, _HALF)
KERAS_CAFFE = Input(224, None, _CAFFE_MEAN, _CAFFE_STD, "BGR")
KERAS_TORCH = Input(224, None, _MEAN, _STD)
KERAS_TF = Input(224, None, _HALF, _HALF)
KERAS_TF_299 = Input(299, None, _HALF, _HALF)
