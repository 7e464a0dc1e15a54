"""Samples of PyTorch's dropout, which draws from numbers of its own."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from conformance.case import Mismatch, SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import Ours, Trial, layer_trial
from pellucid.layers import Dropout, Mode
from pellucid.layers.dropout import DropoutCache

DRAWS = 200  # so that at a rate of 1/2 no entry fails to be kept, and to be dropped, at some time
SHARE = 5  # standard deviations that the share kept over all draws may be off
DEPENDENCE = 6  # standard deviations that the covariance of two entries may be off 0; there are many pairs


def drawn(channels: bool) -> Callable[..., Trial]:
    """Return what puts a sample of dropout, or of dropout2d or dropout3d, to Dropout."""

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
    entry of x is itself 0 and does not show what became of it, and where what is kept is not as `check_draws` asks.
    PyTorch's samples drop at a rate of 1/2, where a mask looks like its inverse, so half the rate is drawn too.
    """
    if not bool((x != 0).all()):
        raise Mismatch("an entry of x is 0 and cannot show whether it was dropped")
    passes = draws(layer, x)
    kept = check_draws(layer, passes)
    gentler = replace(layer, rate=layer.rate / 2)
    check_draws(gentler, draws(gentler, x))
    fared = kept == (theirs != 0)
    if not bool(fared.any(0).all()):
        raise Mismatch(f"in {DRAWS} draws some entries always fare otherwise")
    first = fared.int().argmax(0, keepdim=True)

    def pull(dy: Tensor) -> dict[str, Tensor]:
        return {"x": torch.stack([layer.backward({}, cache, dy)[0] for _, cache in passes]).gather(0, first)[0]}

    return Ours((torch.stack([y for y, _ in passes]).gather(0, first)[0],), pull)


def draws(layer: Dropout, x: Tensor) -> list[tuple[Tensor, DropoutCache]]:
    """Return DRAWS training passes of the layer."""
    mode = Mode(train=True, rng=torch.Generator().manual_seed(0))
    return [layer.forward({}, x, mode) for _ in range(DRAWS)]


def check_draws(layer: Dropout, passes: list[tuple[Tensor, DropoutCache]]) -> Tensor:
    """Return which entries each pass kept, (DRAWS, ...), of an x without zeros.

    Raises Mismatch unless a channel passes whole or not at all, where the layer drops channels; unless the share
    kept over all draws is 1 - rate; and unless each entry, or channel, is drawn apart from every other.
    """
    kept = torch.stack([y != 0 for y, _ in passes])
    coins = kept.reshape(DRAWS, -1).double()  # (DRAWS, entries)
    if layer.channels:
        channels = kept.flatten(3)  # (DRAWS, N, C, pixels)
        if bool((channels.any(3) != channels.all(3)).any()):
            raise Mismatch("a channel passes in part")
        coins = channels.any(3).flatten(1).double()
    share, variance = 1 - layer.rate, layer.rate * (1 - layer.rate)
    if abs(float(coins.mean()) - share) > SHARE * math.sqrt(variance / coins.numel()):
        raise Mismatch(f"{float(coins.mean()):.3f} of all is kept instead of {share:.3f}")
    covariance = (coins - share).t() @ (coins - share) / DRAWS
    if bool((covariance - covariance.diag().diag()).abs().max() > DEPENDENCE * variance / math.sqrt(DRAWS)):
        raise Mismatch("entries are not drawn apart from one another")
    return kept


def dropout_backward(theirs: Callable[[], Tensor], dy: Tensor, mask: Tensor, scale: float) -> Trial:
    """Put a sample of dropout's own backward pass, linear in dy, to that of Dropout."""
    cache = DropoutCache(mask, dy.new_tensor(scale))

    def back(dy: Tensor) -> Tensor:
        return Dropout().backward({}, cache, dy)[0]

    return Trial({"dy": dy}, lambda: (theirs(),), lambda: Ours((back(dy),), lambda above: {"dy": back(above)}))


OPERATORS = (
    Operator("nn.functional.dropout", Dropout, drawn(channels=False)),
    Operator("nn.functional.dropout2d", Dropout, drawn(channels=True)),
    Operator("nn.functional.dropout3d", Dropout, drawn(channels=True)),
    Operator("native_dropout_backward", Dropout, dropout_backward),
)
