"""The score of a network for one picture that is to be explained."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.base.settings.checks import check_known

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.layers.base import Layer, Params

Area = tuple[int, int, int, int]  # top, left, bottom and right in pixels; bottom and right are excluded


class ScoreToExplain(NamedTuple):
    """A score to explain: the arguments of `pellucid.explain.explain` for one picture, and all scores to choose from.

    label: the name of the score. x: (1, C, H, W), standardized. target: see `pellucid.explain.aim`. choices: the names
    of all scores that can be explained. scores: (n,), their values, NaN where unknown; `are_logits` is False for
    probabilities. chosen: the index of the score in `choices`, None for a unit. area: the region that the score is
    for, such as a box; None for the whole picture. options: arguments of explanation methods, by the name of the
    method. read: see `pellucid.explain.occlude`. is_of_pixels: whether it is a score of the pixels of `area`, which
    `of_pixels` adds to the label.
    """

    label: str
    net: "Layer"
    params: "Params"
    x: "Tensor"
    target: Any
    choices: Sequence[str]
    scores: "Tensor"
    chosen: int | None = None
    area: Area | None = None
    options: Mapping[str, Mapping[str, Any]] = {}
    read: "Callable[[Tensor], Tensor] | None" = None
    are_logits: bool = True
    is_of_pixels: bool = False

    def of_pixels(self, input_size: Sequence[int], size: Sequence[int], area: Area | None = None) -> "ScoreToExplain":
        """Return this score with its pixels in the label, as those of a picture of `size` (H, W).

        input_size: (h, w) of the network's input without padding. area: the pixels of the picture that the user chose;
        None for all that `self.area` of the input covers.
        """
        if not self.is_of_pixels or self.area is None:
            return self
        if area is None:
            (h, w), (height, width) = input_size, size
            top, left, bottom, right = self.area
            area = top * height // h, left * width // w, -(-bottom * height // h), -(-right * width // w)
        top, left, bottom, right = area
        place = f"rows {top} to {bottom - 1} and columns {left} to {right - 1}"
        if (bottom - top, right - left) == (1, 1):
            place = f"pixel {top}, {left}"
        return self._replace(label=f"{self.label} at {place}")


def output_to_explain(model: Any, x: "Tensor", choice: str | None) -> ScoreToExplain | None:
    """Return one score of a model for an image; None unless the model has one network with outputs (N, K).

    choice: a class, by default the one with the largest score, or a unit such as "features.conv2[3]".
    """
    from pellucid.layers.base import Mode

    if len(nets := model.objective.nets) != 1:
        return None
    inputs, (name, net) = model.scaled(x[None]), next(iter(nets.items()))
    params = model.params[name] if name else model.params
    y, _ = net.forward(params, inputs, Mode(keep=False))
    if not hasattr(y, "dim") or y.dim() != 2:
        return None
    n_scores, choices = y.shape[1], tuple(model.classes or ())
    if len(choices) != n_scores:  # a single score may separate two classes
        choices = choices[1:] if n_scores == 1 and len(choices) == 2 else tuple(map(str, range(n_scores)))
    read = getattr(getattr(model.objective, "loss", None), "predict", None)
    chosen = int(y[0].argmax()) if choice is None else None if "[" in choice else index_of(choice, choices)
    label, target = (choice, choice) if chosen is None else (choices[chosen], chosen)
    return ScoreToExplain(
        label=str(label),
        net=net,
        params=params,
        x=inputs,
        target=target,
        choices=choices,
        scores=y[0].detach().cpu(),
        chosen=chosen,
        read=read,
    )


def resized_to(size: Sequence[int | None], image: "Tensor") -> "Tensor":
    """Return an image, or the first one of a batch, as floats (C, H, W).

    A uint8 image is resized to `size`, (H, W), unless that contains None, and scaled to 0..1.
    """
    import torch

    from pellucid.data.dataset import float_images
    from pellucid.data.images import resized

    x = image if image.dim() == 3 else image[0]
    height, width = size
    if x.dtype == torch.uint8 and height is not None and width is not None:
        x = resized(x, (height, width))
    return float_images(x)


def index_of(name: str, names: Sequence[str]) -> int:
    """Return the index of a name; raises PellucidError for an unknown one."""
    check_known("no", name, names)
    return names.index(name)
