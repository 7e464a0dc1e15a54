"""The origin of NaN or infinity: the first tensor that contains them."""

import torch

from pellucid.combine.base import buffer_paths, join
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import in_batches, is_user_defined
from pellucid.doctor.rehearsal import DEFAULT_EPOCHS
from pellucid.nested import flatten
from pellucid.training.diagnose import NotFinite, StoppedError, diagnose_output, weights_fault

MAX_TARGET = 1e16  # targets whose squares, summed over a batch, are near the largest float32, 3e38


def find(case: Case) -> list[Finding]:
    """Examine the initial weights, the step in which the training or a rehearsal stopped, and the model's outputs."""
    if fault := weights_fault(flatten(case.initial.params)):
        return [_finding(case, fault, 0)]
    stopped = case.stopped
    if case.trainable and not isinstance(stopped, StoppedError) and case.rehearsal.has_failed:
        stopped = case.rehearsal.stopped or _stopped_fit(case)
    if isinstance(stopped, StoppedError):
        return [_finding(case, stopped.fault, stopped.step)]
    with torch.inference_mode():
        for batch in in_batches(case.model, case.inputs(case.sample)):
            if fault := diagnose_output(case.model.net, case.model.params, batch):
                return [_finding(case, fault, None)]
    return []


def _stopped_fit(case: Case) -> StoppedError | None:
    """Return the error of the training made again, whose first steps are those of the rehearsal; None without one."""
    model = case.begin()
    try:
        model.fit(
            case.train, epochs=case.epochs or DEFAULT_EPOCHS, batch_size=min(case.batch_size, len(case.train)),
            augment=case.augment, verbose=False,
        )  # fmt: skip
    except StoppedError as error:
        return error
    return None


def _finding(case: Case, fault: NotFinite, step: int | None) -> Finding:
    """Return the finding for a tensor that is not finite, with a cause if the kind of the tensor determines it.

    step: the step in which it appears, 0 for initial weights, None in evaluation.
    """
    path = join(fault.path, fault.tensor) if fault.kind == "weight" else fault.path
    evidence: Evidence = {"found": fault.without_path}
    if step is not None:
        evidence["step"] = step
    if fault.kind == "loss":
        return _loss_finding(case, evidence)
    if fault.kind == "input":
        return Finding(
            NAME,
            "train",
            evidence,
            cause="the augmentation or the preprocessing turns finite data into NaN or infinity",
            fix="check the values that these return",
            is_fault=True,
        )
    if fault.kind == "weight" and not step:
        if step is None and path in buffer_paths(case.model.net):
            return Finding(NAME, path, evidence)  # running statistics of outputs that grew until they overflowed
        return Finding(
            NAME,
            path,
            evidence,
            cause=f"the weights contain NaN or infinity{'' if step is None else ' before the first step'}",
            fix="check how they are initialized, or the file that they were read from",
            is_fault=True,
        )
    if step is not None and step > 1:
        return Finding(NAME, path or "training", evidence)  # updates or values grew until they overflowed
    return Finding(
        NAME,
        path or "training",
        evidence,
        cause="this layer divides by 0, takes the logarithm or root of an invalid value, or overflows",
        fix="check the inputs of this layer, and add a small constant where it divides or takes a logarithm",
        is_fault=True,
    )


def _loss_finding(case: Case, evidence: Evidence) -> Finding:
    """Return the finding for a loss that is not finite; only losses that are not for regression take a logarithm."""
    if not case.compares:
        return Finding(
            NAME,
            "loss",
            evidence,
            cause="the loss takes a logarithm of 0, or its inputs are too large",
            fix="use a loss that contains the softmax or sigmoid, or add a small constant in the logarithm",
            is_fault=is_user_defined(case.model.loss),
        )
    if float(case.train.y.double().abs().max()) > MAX_TARGET:
        return Finding(
            NAME,
            "loss",
            evidence,
            cause="the targets are very large",
            fix="standardise them: subtract their mean and divide by their standard deviation",
            is_fault=True,
        )
    return Finding(NAME, "loss", evidence)


NAME = "nan-origin"
CHECK = Check(NAME, find)
