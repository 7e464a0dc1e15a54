"""What a person asks about a picture: one score of a network, ready to be explained."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.settings.checks import check_known

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.layers.base import Layer, Params

Area = tuple[int, int, int, int]  # top, left, bottom and right in pixels; bottom and right are excluded


class Asked(NamedTuple):
    """A score of a network for one picture: the arguments of `pellucid.explain.explain`, and what else can be asked.

    label: the score in words. x: (1, C, H, W), standardised. target: see `pellucid.explain.aim`. choices: the names of
    the scores that can be asked for. scores: (n,), their values, NaN where unknown; `are_logits` is False for
    probabilities. chosen: which of them it is, None for a unit. area: what the score belongs to, such as a box; None
    for the whole picture. options: of methods, by name. read: see `pellucid.explain.occlude`.
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


def ask_scores(model: Any, x: "Tensor", of: str | None) -> Asked | None:
    """Return one of the scores (N, K) of the only network of a model for an image; None for models without them.

    of: a class, by default that with the largest score, or a unit such as "features.conv2[3]".
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
    if len(choices) != n_scores:  # one score may separate two classes
        choices = choices[1:] if n_scores == 1 and len(choices) == 2 else tuple(map(str, range(n_scores)))
    read = getattr(getattr(model.objective, "loss", None), "predict", None)
    chosen = int(y[0].argmax()) if of is None else None if "[" in of else index_of(of, choices)
    label, target = (of, of) if chosen is None else (choices[chosen], chosen)
    return Asked(str(label), net, params, inputs, target, choices, y[0].detach().cpu(), chosen, read=read)


def resized_to(size: Sequence[int | None], image: "Tensor") -> "Tensor":
    """Return an image, or the first of a batch, (C, H, W), 0 to 1; uint8 is resized to (H, W) unless that is free."""
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
