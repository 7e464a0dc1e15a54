"""Where NaN or infinity first appears."""

import torch

from pellucid.combine import join
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number
from pellucid.doctor.measure.own import own
from pellucid.doctor.measure.room import parts
from pellucid.doctor.origin import origin
from pellucid.training.diagnose import diagnose_output, weights_fault
from pellucid.training.notfinite import NotFinite
from pellucid.training.stopped import StoppedError
from pellucid.tree import flatten

HUGE = 1e16  # targets whose squares, summed over a batch, are near the largest float32, 3e38


def look(case: Case) -> list[Finding]:
    """Look at the first weights, at the step in which the training stopped or a rehearsal breaks, at the answers."""
    fault = weights_fault(flatten(case.first.params))
    if fault:
        return [_found(case, fault, 0)]
    if isinstance(case.stopped, StoppedError):
        return [_found(case, case.stopped.fault, case.stopped.step)]
    if case.trainable and case.rehearsal.broke and not case.rehearsal.stopped:
        came = origin(case)
        return [_found(case, came.fault, came.step)]
    with torch.inference_mode():
        for part in parts(case.model, case.inputs(case.sample)):
            fault = diagnose_output(case.model.net, case.model.params, part)
            if fault:
                return [_found(case, fault, None)]
    return []


def _found(case: Case, fault: NotFinite, step: int | None) -> Finding:
    """Return the finding of a tensor, in the step in which it is lost; where that is proof, with its cause."""
    path = fault.path
    evidence: dict[str, Number] = {"found": fault.held}
    if step is not None:
        evidence["step"] = step
    if fault.kind == "input":
        cause, fix = "the augmentation or the preprocessing makes it of finite data", "look at what these return"
        return Finding(NAME, "train", evidence, cause, fix, proven=True)
    if fault.kind == "weight":
        path = join(path, fault.tensor)
        if not step:
            cause, fix = "the weights hold it as they are", "look at how they are drawn or at the file they came from"
            return Finding(NAME, path, evidence, cause, fix, proven=True)
    if fault.kind == "loss":
        return _of_loss(case, evidence)
    if step is not None and step > 1:
        return Finding(NAME, path or "training", evidence)  # steps or values grew until they overflowed
    cause = "this layer divides by 0, takes a logarithm or root of what it cannot, or overflows"
    fix = "look at what comes into this layer, and add a small number where it divides or takes a logarithm"
    return Finding(NAME, path or "training", evidence, cause, fix, proven=True)


def _of_loss(case: Case, evidence: dict[str, Number]) -> Finding:
    """Return the finding of a loss that is not finite: those that compare numbers take no logarithm."""
    if not case.compares:
        cause = "the loss takes a logarithm of 0, or its inputs are too large"
        fix = "take a loss that contains the softmax or sigmoid, or add a small number in the logarithm"
        return Finding(NAME, "loss", evidence, cause, fix, proven=own(case.model.loss))
    if float(case.train.y.double().abs().max()) > HUGE:
        cause, fix = "the targets are very large", "standardise them: take off their mean and divide by their deviation"
        return Finding(NAME, "loss", evidence, cause, fix, proven=True)
    return Finding(NAME, "loss", evidence)


NAME = "nan-origin"
CHECK = Check(NAME, "NaN or infinity appears, and everything that is computed from it is lost.", look)
