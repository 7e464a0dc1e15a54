"""Outputs that a loss of one's own never teaches, since their gradient is always 0, and labels that it never reads."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import shortened
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case, UnansweredError
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import subsample

MAX_EXAMPLES = 64
MAX_COLUMNS = 64  # of targets, of which each is replaced by that of the first example
MIN_WRONG = 0.1  # fraction of the targets of 0 for which a trained network answers 1
MAX_ERROR = 1e-3  # of a sum of probabilities
MAX_PLACES = 1 << 16  # of a batch, so that one label changes the mean loss by more than rounding errors
MAX_SWITCHED = 200  # labels that are switched off, one at a time
MIN_SEVERAL = 0.1  # fraction of the examples with labels that have several; if fewer have, one label may suffice
MIN_ONE = 0.9  # fraction of these of which the loss reads exactly one label
MIN_LOST = 0.1  # fraction of these whose other labels do not follow from that one, as those of a hierarchy would
# Of labels at several time steps, the first of which may say all: fraction of the examples whose labels are one run,
# and how many times as many neighbours have them together as in any order.
MIN_ONE_RUN, MIN_NEIGHBOURS = 0.9, 2.0
MAX_WIDTH = 60  # characters of a list of outputs or columns


def find(case: Case) -> list[Finding]:
    """Compute the gradient of the loss with respect to the first and the trained outputs for a few examples."""
    loss, batch = case.model.loss, subsample(case.train, MAX_EXAMPLES, case.model.seed)
    if type(loss).__module__.startswith("pellucid.losses."):
        return []  # these leave out only what is not labelled
    outputs, first_outputs, found = case.model(batch.x), case.initial(batch.x), None
    try:
        gradients = [_parts(loss(one, batch.y)[1]) for one in (outputs, first_outputs)]
        has_gradient = [(first != 0) | (trained != 0) for first, trained in zip(*gradients, strict=True)]
        if isinstance(outputs, Tensor) and outputs.dim() > 1 and outputs.numel() == batch.y.numel():
            found = _without_zeros(outputs, batch.y.reshape(outputs.shape), has_gradient[0])
        found = found or _never_taught(loss, outputs, batch.y, has_gradient)
        found = found or _never_read(loss, (outputs, first_outputs), batch.y)
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


def _never_read(loss: Any, outputs: Sequence[Any], y: Tensor) -> Finding | None:
    """Return a finding if the loss reads one of several labels of an example or position, whatever the outputs are.

    Only for targets (n, labels, ...) that are all 0 or 1. The other labels count if the loss reads these columns
    elsewhere: it may leave out columns that are for other purposes.
    """
    if y.dim() < 2 or not bool(((y == 1) | (y == 0)).all()):
        return None
    count = max(MAX_PLACES // y[0, 0].numel(), 1)
    y, outputs = y[:count], [_mapped(one, lambda part: part[:count]) for one in outputs]
    outputs.append(_mapped(outputs[0], lambda part: part.flip(*range(part.dim()))))
    is_label = (y == 1).movedim(1, -1)  # (n, ..., labels)
    n_labels = is_label.sum(-1)
    fraction = int((n_labels > 1).sum()) / max(int((n_labels > 0).sum()), 1)
    if fraction < MIN_SEVERAL or _are_steps(is_label[n_labels > 1]):
        return None
    places = (n_labels > 1).nonzero()
    places = places[torch.randperm(len(places), generator=generator(0))]
    places = places[n_labels[places.unbind(1)].cumsum(0) <= MAX_SWITCHED]
    values = [loss(one, y)[0] for one in outputs]
    if not all(torch.equal(loss(one, y)[0], value) for one, value in zip(outputs, values, strict=True)):
        return None  # of a loss that draws random numbers
    is_label = is_label[places.unbind(1)]  # (places, labels)
    is_read = torch.zeros_like(is_label)
    for k, column in is_label.nonzero().tolist():
        example, *position = places[k].tolist()
        other_y = y.clone()
        other_y[(example, column, *position)] = 0
        pairs = zip(outputs, values, strict=True)
        is_read[k, column] = any(not torch.equal(loss(one, other_y)[0], value) for one, value in pairs)
    is_one_read = is_read.sum(1) == 1
    is_unread = is_label & ~is_read & is_read.any(0)
    if not bool(is_unread.any()) or float(is_one_read.double().mean()) < MIN_ONE:
        return None
    label_sets = is_label.int().unique(dim=0, return_inverse=True)[1]
    counts = torch.zeros(y.shape[1], len(places), dtype=torch.int64)  # of each set, by the column that is read
    counts.index_put_((is_read.int().argmax(1), label_sets), torch.tensor(1), accumulate=True)
    if 1 - int(counts.amax(1).sum()) / len(places) < MIN_LOST:
        return None
    unit = "examples" if y.dim() == 2 else "positions"
    return Finding(
        NAME,
        "loss",
        evidence={"share_with_several_labels": fraction, "labels_read": float(is_read.sum() / is_label.sum())},
        cause=f"{fraction:.0%} of the {unit} with labels have several, of which the loss reads one: if any other "
        "one is set to 0, its value does not change, so that these are never learned",
        fix="use BCEWithLogitsLoss on all labels, not a loss of the one label that argmax finds",
        proven=True,
    )


def _are_steps(is_label: Tensor) -> bool:
    """Return whether labels (n, columns) are runs of time steps: neighbours have them together, unlike classes."""
    n_labels, n_columns = is_label.sum(1), is_label.shape[1]
    n_pairs = (is_label[:, 1:] & is_label[:, :-1]).sum(1)
    expected = (n_labels * (n_labels - 1)).sum() / n_columns  # of labels in any order
    is_one_run = n_pairs == n_labels - 1
    return float(is_one_run.double().mean()) >= MIN_ONE_RUN or float(n_pairs.sum()) >= MIN_NEIGHBOURS * float(expected)


def _mapped(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return the outputs of a network with each part changed."""
    parts = tuple(map(change, _parts(outputs)))
    return parts if isinstance(outputs, tuple) else parts[0]


def _with_first(values: Tensor, is_kept: Tensor) -> Tensor:
    """Return values (n, ...) in which all examples have those channels of the first one that are not kept."""
    rows = values.reshape(len(values), len(is_kept), -1)
    return torch.where(is_kept[:, None], rows, rows[:1]).reshape(values.shape)


NAME = "outputs-without-loss"
CHECK = Check(NAME, find, explains=("underfitting",), trained=True, finds_faults=True)
