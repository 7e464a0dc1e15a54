"""Samples of PyTorch's dropout, whose masks differ from ours."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from conformance.case import Mismatch, SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import ForwardPass, Trial, layer_trial
from pellucid.layers import Dropout, Mode
from pellucid.layers.dropout import DropoutCache

N_DRAWS = 200  # enough for every entry to be both kept and dropped in some draw at a rate of 1/2
MAX_SHARE_DEVIATIONS = 5  # largest error of the fraction of kept entries, in standard deviations
MAX_COVARIANCE_DEVIATIONS = (
    6  # largest covariance of two entries, in standard deviations; more than 5, for there are many pairs
)


def dropout_adapter(channels: bool) -> Callable[..., Trial]:
    """Return the adapter of dropout, or with `channels` that of dropout2d and dropout3d."""

    def adapt(reference: Callable[[], Tensor], x: Tensor, p: float = 0.5, training: bool = True) -> Trial:
        if p == 1:
            raise SkipCase("p=1, which leaves nothing")
        layer = Dropout(p, channels)
        if not training:
            return layer_trial(layer, {}, x, reference)
        return Trial({"x": x}, lambda: (reference(),), lambda: matching_pass(layer, x, reference()))

    return adapt


def matching_pass(layer: Dropout, x: Tensor, reference: Tensor) -> ForwardPass:
    """Return a training pass of ours with the mask of `reference`, PyTorch's output.

    The masks differ, so our pass is repeated. Each entry of y and dx is taken from the first draw that keeps or drops
    this entry as `reference` does (a dropped entry is 0). Raises Mismatch if there is no such draw, if an entry of x
    is 0, or if `check_draws` raises it. PyTorch's samples have a rate of 1/2, at which an inverted mask would not be
    noticed, so the draws are also checked at half the rate.
    """
    if not bool((x != 0).all()):
        raise Mismatch("an entry of x is 0 and cannot show whether it was dropped")
    passes = training_passes(layer, x)
    kept_masks = check_draws(layer, passes)
    half_rate = replace(layer, rate=layer.rate / 2)
    check_draws(half_rate, training_passes(half_rate, x))
    is_equal = kept_masks == (reference != 0)
    if not bool(is_equal.any(0).all()):
        raise Mismatch(f"in {N_DRAWS} draws some entries always fare otherwise")
    first_match = is_equal.int().argmax(0, keepdim=True)

    def backward(dy: Tensor) -> dict[str, Tensor]:
        return {"x": torch.stack([layer.backward({}, cache, dy)[0] for _, cache in passes]).gather(0, first_match)[0]}

    return ForwardPass((torch.stack([y for y, _ in passes]).gather(0, first_match)[0],), backward)


def training_passes(layer: Dropout, x: Tensor) -> list[tuple[Tensor, DropoutCache]]:
    """Return (y, cache) of N_DRAWS training passes of the layer."""
    mode = Mode(train=True, rng=torch.Generator().manual_seed(0))
    return [layer.forward({}, x, mode) for _ in range(N_DRAWS)]


def check_draws(layer: Dropout, passes: list[tuple[Tensor, DropoutCache]]) -> Tensor:
    """Return the masks of the entries that each pass kept, (N_DRAWS, ...), for an x without zeros.

    Raises Mismatch if a layer that drops channels keeps a part of one, if the fraction kept over all draws is not
    1 - rate, or if entries (or channels) are not drawn independently.
    """
    kept_masks = torch.stack([y != 0 for y, _ in passes])
    kept_units = kept_masks.reshape(N_DRAWS, -1).double()  # (N_DRAWS, entries)
    if layer.channels:
        channels = kept_masks.flatten(3)  # (N_DRAWS, N, C, pixels)
        if bool((channels.any(3) != channels.all(3)).any()):
            raise Mismatch("a channel passes in part")
        kept_units = channels.any(3).flatten(1).double()
    expected_share, variance = 1 - layer.rate, layer.rate * (1 - layer.rate)
    if abs(float(kept_units.mean()) - expected_share) > MAX_SHARE_DEVIATIONS * math.sqrt(variance / kept_units.numel()):
        raise Mismatch(f"{float(kept_units.mean()):.3f} of all is kept instead of {expected_share:.3f}")
    covariance = (kept_units - expected_share).t() @ (kept_units - expected_share) / N_DRAWS
    if bool(
        (covariance - covariance.diag().diag()).abs().max() > MAX_COVARIANCE_DEVIATIONS * variance / math.sqrt(N_DRAWS)
    ):
        raise Mismatch("entries are not drawn apart from one another")
    return kept_masks


def dropout_backward(reference: Callable[[], Tensor], dy: Tensor, mask: Tensor, scale: float) -> Trial:
    """Return the trial of Dropout.backward, which is linear in dy, on a sample of native_dropout_backward."""
    cache = DropoutCache(mask, dy.new_tensor(scale))

    def dropout_dx(dy: Tensor) -> Tensor:
        return Dropout().backward({}, cache, dy)[0]

    return Trial(
        {"dy": dy},
        lambda: (reference(),),
        lambda: ForwardPass((dropout_dx(dy),), lambda dy_above: {"dy": dropout_dx(dy_above)}),
    )


OPERATORS = (
    Operator("nn.functional.dropout", Dropout, dropout_adapter(channels=False)),
    Operator("nn.functional.dropout2d", Dropout, dropout_adapter(channels=True)),
    Operator("nn.functional.dropout3d", Dropout, dropout_adapter(channels=True)),
    Operator("native_dropout_backward", Dropout, dropout_backward),
)
