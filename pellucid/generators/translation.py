"""Base class of image-to-image objectives, such as colours from a grey image or a photo from a label map."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice, check_flag, check_whole, check_within
from pellucid.base.text import shown
from pellucid.combine.base import init_child
from pellucid.data.source import Batch
from pellucid.extend.config import to_config
from pellucid.fuse.inference import inference
from pellucid.layers.base import Layer, Mode, Params, memory_format
from pellucid.losses.base import upcast_half
from pellucid.objective import BatchEvaluation, Losses, Objective
from pellucid.ops.colour import rgb_to_lab

LIGHTNESS_SCALE, CHROMA_SCALE = 50.0, 110.0  # networks receive L / 50 - 1, and output a / 110 and b / 110
HINT_CHANNELS = 3  # a, b, and 1 inside a hint
# In training, colour hints are dots of true colours, drawn at random; in prediction, the user sets the dots.
STOP_PROBABILITY = 1 / 8  # parameter of the geometric distribution of the number of dots, whose mean is 7
MAX_DOTS = 32  # largest number of dots in an image
SIDE_DIVISOR = 28  # the largest dot's side is a 28th of the image's shorter side
MAX_MULTIPLE = 1024  # pixels: a U-Net of ten levels needs images whose sides are multiples of 1024
To = Literal["colour", "rgb", "image"]


class TranslationPair(NamedTuple):
    """Inputs of the generator (N, C, H, W) and their targets (N, C', H, W), with values mostly in -1 to 1."""

    x: Tensor
    target: Tensor


@dataclass(frozen=True)
class Translator(Objective):
    """An objective whose generator translates images to images.

    to: "colour" to predict a and b of Lab from L: images are RGB or grey, 0 to 1, targets are ignored, and predictions
        (N, 2, H, W) are in the units of Lab. "rgb" to predict the same with a generator that outputs RGB images, which
        are converted to Lab. "image" to predict the targets, which are images in 0 to 1.
    hints: whether the generator for "colour" or "rgb" also receives colour hints, see `draw_hints`.
    multiple: the generator needs a height and a width that are multiples of this number; images of other sizes are
        padded by repeating their edge pixels.
    """

    any_size: ClassVar[bool] = True

    generator: Layer
    _: KW_ONLY
    to: To = "colour"
    hints: bool = False
    multiple: int = 1

    def __post_init__(self) -> None:
        """Raise PellucidError for hints with to="image", an unknown `to`, and a `multiple` below 1."""
        super().__post_init__()
        check_choice(self, get_args(To), to=self.to)
        check_flag(self, hints=self.hints)
        check_whole(self, multiple=self.multiple)
        check_within(self, 1, MAX_MULTIPLE, multiple=self.multiple)
        if self.hints and not self.predicts_colours:
            raise PellucidError(f"{type(self).__name__}: hints are colours; leave them out with to={self.to!r}")

    @property
    def predicts_colours(self) -> bool:
        """Whether the predictions are a and b of the input images; if not, they are images."""
        return self.to != "image"

    def preprocessing(self, shape: Any, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
        """Return {"size": [H, W]}; mean and std are not needed, because `read` scales the images."""
        return {"size": [*shape[1:]]}

    @property
    def channels(self) -> int:
        """The number of input channels of a generator that predicts colours: L, and the hints if it receives them."""
        return 1 + HINT_CHANNELS * self.hints

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the generator's parameters for images of `shape`; return them and the shape of its predictions."""
        params, output_shape = init_child(
            "generator", self.generator, self.padded_shape(self.generator_input_shape(shape)), rng
        )
        return {"generator": params}, (2 if self.predicts_colours else output_shape[0], *shape[1:])

    def generator_input_shape(self, shape: Any) -> tuple[int, ...]:
        """Return the shape of the generator's input for images of `shape`, before padding.

        Raises PellucidError unless images are (C, H, W) and, if colours are predicted, RGB or grey.
        """
        if len(shape) != 3 or (self.predicts_colours and shape[0] not in (1, 3)):
            expected = "RGB or grey images" if self.predicts_colours else "images"
            raise PellucidError(f"{type(self).__name__} takes {expected} (C, H, W), not {tuple(shape)}")
        return (self.channels if self.predicts_colours else shape[0], *shape[1:])

    def padded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape (C, H, W) with height and width rounded up to a multiple of `multiple`."""
        return (shape[0], *(-(-size // self.multiple) * self.multiple for size in shape[1:]))

    def read(self, images: Tensor, hints: Tensor | None = None) -> Tensor:
        """Return the generator's input for images (N, C, H, W), not padded.

        hints: (N, 3, H, W), a and b in the units of Lab, and 1 where they are given, 0 elsewhere. Raises PellucidError
        for hints if the generator receives none.
        """
        if not self.predicts_colours:
            return images
        x = to_lab(images)[:, :1] / LIGHTNESS_SCALE - 1
        if not self.hints:
            if hints is not None:
                raise PellucidError(f"{type(self).__name__} was not trained with hints; use a model that was")
            return in_layout_of(x, images)
        if hints is None:
            dots = x.new_zeros(len(x), HINT_CHANNELS, *x.shape[2:])
        else:
            hint_mask = hints[:, 2:].to(x)
            dots = torch.cat([hints[:, :2].to(x) * hint_mask * (1 / CHROMA_SCALE), hint_mask * hint_mask], 1)
        return in_layout_of(torch.cat([x, dots], 1), images)

    def pair(self, batch: Batch, mode: Mode) -> TranslationPair:
        """Return the generator's input for a batch, with drawn hints in training, and its target, both padded.

        Raises PellucidError for grey images if colours are learned.
        """
        images = batch.images
        if not self.predicts_colours:
            return TranslationPair(self.pad(images), self.pad(in_layout_of(2 * batch.targets - 1, images)))
        if images.shape[1] != 3:
            raise PellucidError(f"{type(self).__name__} learns colours, but images are grey; give RGB (data.mode)")
        ab = to_lab(images)[:, 1:]
        dots = draw_hints(ab, mode.rng) if self.hints and mode.train and mode.rng is not None else None
        target = ab / CHROMA_SCALE if self.to == "colour" else 2 * images - 1
        return TranslationPair(self.pad(self.read(images, dots)), self.pad(in_layout_of(target, images)))

    def predict(self, params: Params, images: Tensor, hints: Tensor | None = None) -> Tensor:
        """Return the predicted a and b (N, 2, H, W) in the units of Lab or, for to="image", images in 0 to 1.

        images: RGB or grey, 0 to 1, of any size; hints: see `read`.
        """
        y, _ = self.generator.forward(params["generator"], self.pad(self.read(images, hints)), Mode(keep=False))
        return self.result(y, images)

    def result(self, y: Tensor, images: Tensor) -> Tensor:
        """Convert the generator's outputs for padded images to predictions, cropped to the size of `images`."""
        y = upcast_half(y)[:, :, : images.shape[2], : images.shape[3]]
        if self.to == "colour":
            return y * CHROMA_SCALE
        scaled = ((y + 1) / 2).clamp(0, 1)
        return to_lab(scaled)[:, 1:] if self.predicts_colours else scaled

    def pad(self, x: Tensor) -> Tensor:
        """Return x (N, C, H, W) padded to the height and width of `padded_shape` by repeating the edge pixels."""
        height, width = x.shape[2:]
        _, new_height, new_width = self.padded_shape(tuple(x.shape[1:]))
        has_right_size = (new_height, new_width) == (height, width)
        return x if has_right_size else F.pad(x, (0, new_width - width, 0, new_height - height), "replicate")

    def evaluator(self, params: Params, count: int, first: int = 0) -> Callable[[Batch], BatchEvaluation]:
        """Return a function that evaluates a batch in one forward pass; do not change `params` while it is in use."""
        forward = self.runner(params)
        mode = Mode(keep=False)

        def evaluate(batch: Batch) -> BatchEvaluation:
            pair = self.pair(batch, mode)
            y = forward(pair.x)
            return BatchEvaluation(self.result(y, batch.images), batch, self.losses(params, pair, y))

        return evaluate

    def runner(self, params: Params) -> Callable[[Tensor], Tensor]:
        """Return a function that maps the generator's inputs to its outputs; do not change `params` during its use."""
        return inference(self.generator, params["generator"])

    @abstractmethod
    def losses(self, params: Params, pair: TranslationPair, y: Tensor) -> Losses:
        """Return the losses of the generator's outputs y for a pair, for evaluation."""

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise PellucidError, for to="image", unless targets are floating-point images (N, C, H, W)."""
        if self.predicts_colours:
            return
        if not isinstance(targets, Tensor) or targets.dim() != 4 or not targets.is_floating_point():
            raise PellucidError(
                f"{type(self).__name__} takes images (N, C, H, W), 0 to 1, as targets, not {shown(targets)}"
            )

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return the objective's configuration for a weights file, as JSON values."""
        return {"objective": to_config(self, [type(self), *custom])}


def to_lab(images: Tensor) -> Tensor:
    """Convert RGB or grey images (N, C, H, W), 0 to 1, to Lab; half precision becomes float32."""
    images = upcast_half(images)
    return rgb_to_lab(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images)


def in_layout_of(x: Tensor, images: Tensor) -> Tensor:
    """Return x with the dtype and memory format of `images`."""
    return x.to(images.dtype).contiguous(memory_format=memory_format(images))


def draw_hints(ab: Tensor, rng: torch.Generator) -> Tensor:
    """Draw dots of the true colours ab (N, 2, H, W): return (N, 3, H, W) with a, b and 1 inside dots, 0 elsewhere.

    The number of dots follows a geometric distribution, limited to 32. A dot is a square at a uniform position, with a
    side from 1 pixel to a 28th of the image's shorter side and the colour of its centre; later dots cover earlier ones.
    Source: Zhang et al. 2017, "Real-time user-guided image colorization", section 3.2, with uniform positions.
    """
    n, _, height, width = ab.shape
    max_side = max(1, min(height, width) // SIDE_DIVISOR)
    draws = torch.rand(3 * MAX_DOTS + 1, n, generator=rng, device=rng.device).to(ab.device)
    counts = (draws[0].clamp_min(1e-9).log() / math.log(1 - STOP_PROBABILITY)).long().clamp_max(MAX_DOTS)  # (N,)
    rows, columns, sides = draws[1:].view(3, MAX_DOTS, n).transpose(1, 2)  # (N, dots) each
    rows, columns = (rows * height).long(), (columns * width).long()
    sides = (1 + (sides * max_side).long())[:, :, None, None]
    dot_numbers = torch.arange(MAX_DOTS, device=ab.device)[:, None, None]
    # All MAX_DOTS dots are computed, since reading their number would synchronize with the GPU: (N, dots, side, side).
    column_offsets = torch.arange(max_side, device=ab.device)
    row_offsets = column_offsets[:, None]
    y, x = rows[:, :, None, None] + row_offsets - sides // 2, columns[:, :, None, None] + column_offsets - sides // 2
    is_inside = (row_offsets < sides) & (column_offsets < sides) & (y >= 0) & (x >= 0) & (y < height) & (x < width)
    is_inside &= dot_numbers < counts[:, None, None, None]
    pixel_indices = torch.where(is_inside, y * width + x, height * width).flatten(1)  # the last index is discarded
    top_dot = torch.full((n, height * width + 1), -1, device=ab.device)  # the dot that covers each pixel, -1 for none
    top_dot.scatter_reduce_(1, pixel_indices, dot_numbers.expand(is_inside.shape).flatten(1), "amax")
    top_dot = top_dot[:, :-1].view(n, height, width)
    image_indices = torch.arange(n, device=ab.device)[:, None, None]
    visible_dot = top_dot.clamp_min(0)
    visible_rows, visible_columns = rows[image_indices, visible_dot], columns[image_indices, visible_dot]
    colours = ab[image_indices, :, visible_rows, visible_columns]  # (N, H, W, 2)
    dots = torch.cat([colours.permute(0, 3, 1, 2), torch.ones_like(ab[:, :1])], 1)
    return torch.where((top_dot >= 0)[:, None], dots, 0.0)
