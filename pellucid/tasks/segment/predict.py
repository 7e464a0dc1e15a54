"""What a model sees at each pixel of a picture."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data.augment.standardise import scaled
from pellucid.errors import LayerError, PellucidError
from pellucid.fuse.inference import inference
from pellucid.model import Model
from pellucid.tasks.segment.crf import dense_crf, kernels_for
from pellucid.training.evaluate import interpret_outputs


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of each pixel, (H, W) uint8, the probability of each class, (C, H, W), and the names of the classes."""

    mask: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]

    def areas(self) -> dict[str, float]:
        """Return the share of the picture that each class covers."""
        counts = torch.bincount(self.mask.flatten().long(), minlength=len(self.classes))
        return {name: count / self.mask.numel() for name, count in zip(self.classes, counts.tolist(), strict=True)}


def is_segmenter(model: Model) -> bool:
    """Tell whether a model puts out a number for each class at each pixel of a picture."""
    return len(model.output_shape) == 3 and len(model.input_shape) == 3


class Segmenter:
    """A model that is laid out once and then applied to pictures of any size; its weights must stay as they are.

    crf: refine each mask by `dense_crf`. Raises PellucidError for a model of other outputs or without class names.
    """

    def __init__(self, model: Model, crf: bool = False) -> None:
        if not is_segmenter(model):
            raise PellucidError(
                f"the model puts out {model.output_shape}, not a class for each pixel; give one for segmentation, such "
                "as a run of camvid-fcn8"
            )
        self.classes = tuple(model.classes or map(str, range(model.output_shape[0])))
        self.model, self.crf = model, crf
        self._run = inference(model.net, model.params)

    def __call__(self, image: Tensor) -> Segmentation:
        """Return the class of each pixel. image: (3, H, W), uint8; PellucidError for one that is too small."""
        model = self.model
        if image.shape[0] != model.input_shape[0] or image.dtype != torch.uint8:
            raise PellucidError(f"the model takes {model.input_shape[0]} channels in uint8, not {tuple(image.shape)}")
        try:
            model.outputs_for(image.shape)
        except LayerError as error:
            raise PellucidError(f"the model takes no pictures of {image.shape[1]}x{image.shape[2]}: {error}") from error
        with torch.inference_mode():
            x = scaled(image[None], model.stats)
            found = interpret_outputs(model.supervised, model.params, x, self._run(x))[0]  # (C, H, W)
            if self.crf:
                found = dense_crf(found, image, kernels_for(image))
            return Segmentation(found.argmax(0).to(torch.uint8), found, self.classes)
