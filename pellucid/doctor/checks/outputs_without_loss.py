"""Outputs that a loss of one's own leaves as they are, since its gradient with respect to them is always 0."""

from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import shortened
from pellucid.doctor.case import Case, UnansweredError
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import subsample

MAX_EXAMPLES = 64
MAX_COLUMNS = 64  # of targets, of which each is replaced by that of the first example
MIN_WRONG = 0.1  # fraction of the targets of 0 for which a trained network answers 1
MAX_ERROR = 1e-3  # of a sum of probabilities
MAX_WIDTH = 60  # characters of a list of outputs or columns


def find(case: Case) -> list[Finding]:
    """Compute the gradient of the loss with respect to the first and the trained outputs for a few examples."""
    loss, batch = case.model.loss, subsample(case.train, MAX_EXAMPLES, case.model.seed)
    if type(loss).__module__.startswith("pellucid.losses."):
        return []  # these leave out only what is not labelled
    outputs, found = case.model(batch.x), None
    try:
        gradients = [_parts(loss(one, batch.y)[1]) for one in (outputs, case.initial(batch.x))]
        has_gradient = [(first != 0) | (trained != 0) for first, trained in zip(*gradients, strict=True)]
        if isinstance(outputs, Tensor) and outputs.dim() > 1 and outputs.numel() == batch.y.numel():
            found = _without_zeros(outputs, batch.y.reshape(outputs.shape), has_gradient[0])
        found = found or _never_taught(loss, outputs, batch.y, has_gradient)
    except (PellucidError, RuntimeError, AttributeError, TypeError) as error:  # of a loss of an unusual form
        raise UnansweredError(f"the gradient of the loss cannot be examined: {error}") from error
    return [] if found is None else [found]


def _parts(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _without_zeros(outputs: Tensor, y: Tensor, has_gradient: Tensor) -> Finding | None:
    """Return a finding if the loss never says that something is absent, and the network answers that it is there.

    Only for targets that are all 0 or 1, such as whether a cell holds an object, on axis 1 or the last one. A loss may
    leave out other outputs where there is nothing, such as boxes, and also classes if an output says that.
    """
    threshold = 0.5 if bool(((outputs >= 0) & (outputs <= 1)).all()) else 0.0
    for axis in sorted({1, outputs.dim() - 1}):
        answers, targets, is_taught = (
            one.movedim(axis, 1).reshape(len(one), one.shape[axis], -1) for one in (outputs, y, has_gradient)
        )  # (n, channels, places)
        if answers.shape[1] > 1 and float((answers.sum(1) - 1).abs().max()) < MAX_ERROR:
            continue  # probabilities of a softmax, of which a higher one lowers the others
        is_zero = targets == 0
        is_binary = (is_zero | (targets == 1)).all(2).all(0)
        are_zeros_taught = (is_taught & is_zero)[:, is_binary].any(1)  # (n, places)
        for channel in is_binary.nonzero().flatten().tolist():
            at_zeros = is_zero[:, channel]
            if not bool(at_zeros.any()) or bool(are_zeros_taught[at_zeros].any()):
                continue
            wrong = float((answers[:, channel][at_zeros] > threshold).double().mean())
            if wrong >= MIN_WRONG and bool(is_taught[:, channel][~at_zeros].any()):
                zeros = float(at_zeros.double().mean())
                return Finding(
                    NAME,
                    "loss",
                    evidence={"output": channel, "targets_of_0": zeros, "of_which_answered_with_1": wrong},
                    cause=f"{zeros:.0%} of the targets of output {channel} are 0, and there the loss has no gradient, "
                    f"so that nothing teaches the network to say no: it answers {wrong:.0%} of these with yes",
                    fix="add a term for targets of 0 to the loss, such as for cells without an object, with a weight "
                    "of about 0.5",
                    proven=True,
                )
    return None


def _never_taught(loss: Any, outputs: Any, y: Tensor, has_gradient: list[Tensor]) -> Finding | None:
    """Return a finding if outputs never have a gradient that should: the loss depends on them, or not on all targets.

    Other outputs without a gradient may be for other purposes than the training. Channels of all parts are counted.
    """
    are_taught = [one.reshape(len(one), *one.shape[1:2], -1).any(-1).any(0).flatten() for one in has_gradient]
    free, value = (~torch.cat(are_taught)).nonzero().flatten().tolist(), loss(outputs, y)[0]
    if not free or not torch.equal(loss(outputs, y)[0], value):
        return None  # also of a loss that draws random numbers
    changed = tuple(_with_first(part, kept) for part, kept in zip(_parts(outputs), are_taught, strict=True))
    is_read = not torch.equal(loss(changed if isinstance(outputs, tuple) else changed[0], y)[0], value)
    columns, unread = torch.arange(y.shape[1] if y.dim() > 1 else 0), list[int]()
    for column in columns[:MAX_COLUMNS].tolist():
        other_y = _with_first(y, columns != column)
        if not torch.equal(other_y, y) and torch.equal(loss(outputs, other_y)[0], value):
            unread.append(column)
    if not is_read and not unread:
        return None
    names = shortened(", ".join(map(str, free)), MAX_WIDTH)
    cause = f"the loss depends on outputs of the network ({names}), but has no gradient there"
    fix = "leave detach, item, argmax, rounding and thresholds of these outputs out of the loss"
    if not is_read:
        cause = f"the loss reads neither some outputs of the network ({names}) nor some columns of the targets "
        cause += f"({shortened(', '.join(map(str, unread)), MAX_WIDTH)})"
        fix = "add a term for them to the loss, or correct how it indexes outputs and targets"
    evidence = {"outputs_without_gradient": len(free), "columns_of_targets_that_are_not_read": len(unread)}
    return Finding(NAME, "loss", evidence, f"{cause}, counted from 0, so that these are never learned", fix)


def _with_first(values: Tensor, is_kept: Tensor) -> Tensor:
    """Return values (n, ...) in which all examples have those channels of the first one that are not kept."""
    rows = values.reshape(len(values), len(is_kept), -1)
    return torch.where(is_kept[:, None], rows, rows[:1]).reshape(values.shape)


NAME = "outputs-without-loss"
CHECK = Check(NAME, find, explains=("underfitting",), trained=True, finds_faults=True)
