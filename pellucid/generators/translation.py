"""The base of objectives that make an image of another one: colours of a grey image, a photo of a map of labels."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine.base import init_child
from pellucid.config import to_config
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.fuse.inference import inference
from pellucid.generators.hints import draw_hints
from pellucid.layers.base import Layer, Mode, Params, memory_format
from pellucid.losses.base import HALF
from pellucid.objective import Evaluated, Losses, Objective
from pellucid.ops.colour import rgb_to_lab
from pellucid.text import shown

LIGHTNESS, CHROMA = 50.0, 110.0  # the units of networks: L / 50 - 1, a / 110 and b / 110
HINTED = 3  # channels of hints: a, b, and whether there is one
To = Literal["colour", "image"]


class Pair(NamedTuple):
    """What the generator reads (N, C, H, W), and what it should make of it, both mostly in -1 to 1."""

    x: Tensor
    wanted: Tensor


@dataclass(frozen=True)
class Translator(Objective):
    """An objective whose generator makes an image of another one.

    to: "colour" for a and b of Lab from L alone: images are RGB or grey, 0 to 1, and targets are not read; predictions
    (N, 2, H, W) are in the units of Lab. "image" for images 0 to 1 that are the targets; so are predictions. hints:
    whether the generator of colours also reads dots of colour, see `draw_hints`. multiple: of which height and width
    are for the generator; images of other sizes are padded with their edge pixels.
    """

    any_size: ClassVar[bool] = True

    generator: Layer
    _: KW_ONLY
    to: To = "colour"
    hints: bool = False
    multiple: int = 1

    def __post_init__(self) -> None:
        """Raise PellucidError for hints without colours."""
        if self.hints and self.to != "colour":
            raise PellucidError(f"{type(self).__name__}: hints are colours; leave them out with to={self.to!r}")

    @property
    def channels(self) -> int:
        """The number of channels that the generator reads of an image, for colours."""
        return 1 + HINTED * self.hints

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters of the generator for images of `shape`, padded."""
        params, out = init_child("generator", self.generator, self.padded(self.reads(shape)), rng)
        return {"generator": params}, (out[0], *shape[1:])

    def reads(self, shape: Any) -> tuple[int, ...]:
        """Return the shape of what the generator reads of images of `shape`."""
        if len(shape) != 3 or (self.to == "colour" and shape[0] not in (1, 3)):
            what = "RGB or grey images" if self.to == "colour" else "images"
            raise PellucidError(f"{type(self).__name__} takes {what} (C, H, W), not {tuple(shape)}")
        return (self.channels if self.to == "colour" else shape[0], *shape[1:])

    def padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape with height and width rounded up to a multiple of `multiple`."""
        return (shape[0], *(-(-size // self.multiple) * self.multiple for size in shape[1:]))

    def read(self, images: Tensor, hints: Tensor | None = None) -> Tensor:
        """Return what the generator reads of images (N, C, H, W).

        hints: (N, 3, H, W), a and b in the units of Lab, and 1 where they are given, else 0.
        """
        if self.to == "image":
            return images
        x = lab_of(images)[:, :1] / LIGHTNESS - 1
        if not self.hints:
            if hints is not None:
                raise PellucidError(f"{type(self).__name__} was not trained with hints; use a model that was")
            return laid_out(x, images)
        if hints is None:
            dots = x.new_zeros(len(x), HINTED, *x.shape[2:])
        else:
            dots = hints.to(x) * hints[:, 2:].to(x) * x.new_tensor([1 / CHROMA, 1 / CHROMA, 1])[:, None, None]
        return laid_out(torch.cat([x, dots], 1), images)

    def pair(self, batch: Batch, mode: Mode) -> Pair:
        """Return what the generator reads of a batch, in training with hints, and what it should make, both padded."""
        images = batch.images
        if self.to == "image":
            return Pair(self.pad(images), self.pad(laid_out(2 * batch.targets - 1, images)))
        if images.shape[1] != 3:
            raise PellucidError(f"{type(self).__name__} learns colours, but images are grey; give RGB (data.mode)")
        ab = lab_of(images)[:, 1:]
        dots = draw_hints(ab, mode.rng) if self.hints and mode.train and mode.rng is not None else None
        return Pair(self.pad(self.read(images, dots)), self.pad(laid_out(ab / CHROMA, images)))

    def predict(self, params: Params, images: Tensor, hints: Tensor | None = None) -> Tensor:
        """Return a and b (N, 2, H, W) in the units of Lab, or images in 0 to 1.

        images: RGB or grey, 0 to 1, of any size; hints: see `read`.
        """
        y, _ = self.generator.forward(params["generator"], self.pad(self.read(images, hints)), Mode(keep=False))
        return self.result(y, images)

    def result(self, y: Tensor, images: Tensor) -> Tensor:
        """Return the generator's outputs for padded images as predictions, cropped to the images."""
        y = (y.float() if y.dtype in HALF else y)[:, :, : images.shape[2], : images.shape[3]]
        return y * CHROMA if self.to == "colour" else ((y + 1) / 2).clamp(0, 1)

    def pad(self, x: Tensor) -> Tensor:
        """Return x (N, C, H, W) with height and width as `padded` says, the edge pixels repeated."""
        height, width = x.shape[2:]
        _, high, wide = self.padded(tuple(x.shape[1:]))
        same = (high, wide) == (height, width)
        return x if same else F.pad(x, (0, wide - width, 0, high - height), "replicate")

    def evaluator(self, params: Params, count: int) -> Callable[[Batch], Evaluated]:
        """Return a function that evaluates batches by one pass of the generator; `params` must stay meanwhile."""
        run, mode = self.runner(params), Mode(keep=False)

        def evaluate(batch: Batch) -> Evaluated:
            pair = self.pair(batch, mode)
            y = run(pair.x)
            return Evaluated(self.result(y, batch.images), batch, self.compare(params, pair, y))

        return evaluate

    def runner(self, params: Params) -> Callable[[Tensor], Tensor]:
        """Return a function from what the generator reads to its outputs as predicted; `params` must stay meanwhile."""
        return inference(self.generator, params["generator"])

    @abstractmethod
    def compare(self, params: Params, pair: Pair, y: Tensor) -> Losses:
        """Return the losses of the generator's outputs y for a pair, in evaluation."""

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise PellucidError, for to="image", unless targets are images in 0 to 1."""
        if self.to == "colour":
            return
        if not isinstance(targets, Tensor) or targets.dim() != 4 or not targets.is_floating_point():
            raise PellucidError(
                f"{type(self).__name__} takes images (N, C, H, W), 0 to 1, as targets, not {shown(targets)}"
            )

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return its configuration for a weights file, as JSON values."""
        return {"objective": to_config(self, [type(self), *custom])}


def lab_of(images: Tensor) -> Tensor:
    """Return RGB or grey images (N, C, H, W), 0 to 1, in Lab; in float32 where they are in half precision."""
    images = images.float() if images.dtype in HALF else images
    return rgb_to_lab(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images)


def laid_out(x: Tensor, images: Tensor) -> Tensor:
    """Return x in the dtype and the memory format of images."""
    return x.to(images.dtype).contiguous(memory_format=memory_format(images))
