"""Samples of PyTorch's dropout, which draws from numbers of its own."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.layers import Dropout, Mode
from pellucid.layers.dropout import DropoutCache
from pellucid.scorecard.case import Mismatch, SkipCase
from pellucid.scorecard.opinfo.operator import Operator
from pellucid.scorecard.trial import Ours, Trial, layer_trial

DRAWS = 200  # so that at a rate of 1/2 no entry fails to be kept, and to be dropped, at some time


def drawn(channels: bool) -> Callable[..., Trial]:
    """Return what puts a sample of dropout, or of dropout2d, to Dropout."""

    def adapt(theirs: Callable[[], Tensor], x: Tensor, p: float = 0.5, training: bool = True) -> Trial:
        if p == 1:
            raise SkipCase("p=1, which leaves nothing")
        layer = Dropout(p, channels)
        if not training:
            return layer_trial(layer, {}, x, theirs)
        return Trial({"x": x}, lambda: (theirs(),), lambda: alike(layer, x, theirs()))

    return adapt


def alike(layer: Dropout, x: Tensor, theirs: Tensor) -> Ours:
    """Return our training pass, put together from the draws in which an entry fared as in `theirs`.

    The two draw differently, so ours is repeated: each entry of y, and of dx, is that of the first draw which kept
    the entry if theirs is not 0 there, or dropped it if theirs is 0. Raises Mismatch where no draw did, where an
    entry of x is itself 0 and does not show what became of it, and where a channel that should pass or not passes
    in part.
    """
    if not bool((x != 0).all()):
        raise Mismatch("an entry of x is 0 and cannot show whether it was dropped")
    mode = Mode(train=True, rng=torch.Generator().manual_seed(0))
    passes = [layer.forward({}, x, mode) for _ in range(DRAWS)]
    kept = torch.stack([y != 0 for y, _ in passes])  # (DRAWS, ...)
    if layer.channels and bool((kept.flatten(3).any(3) != kept.flatten(3).all(3)).any()):
        raise Mismatch("a channel passes in part")
    fared = kept == (theirs != 0)
    if not bool(fared.any(0).all()):
        raise Mismatch(f"in {DRAWS} draws some entries always fare otherwise")
    first = fared.int().argmax(0, keepdim=True)

    def pull(dy: Tensor) -> dict[str, Tensor]:
        return {"x": torch.stack([layer.backward({}, cache, dy)[0] for _, cache in passes]).gather(0, first)[0]}

    return Ours((torch.stack([y for y, _ in passes]).gather(0, first)[0],), pull)


def dropout_backward(theirs: Callable[[], Tensor], dy: Tensor, mask: Tensor, scale: float) -> Trial:
    """Put a sample of dropout's own backward pass, linear in dy, to that of Dropout."""
    cache = DropoutCache(mask, dy.new_tensor(scale))

    def back(dy: Tensor) -> Tensor:
        return Dropout().backward({}, cache, dy)[0]

    return Trial({"dy": dy}, lambda: (theirs(),), lambda: Ours((back(dy),), lambda above: {"dy": back(above)}))


OPERATORS = (
    Operator("nn.functional.dropout", Dropout, drawn(channels=False)),
    Operator("nn.functional.dropout2d", Dropout, drawn(channels=True)),
    Operator("native_dropout_backward", Dropout, dropout_backward),
)
