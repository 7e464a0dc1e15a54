"""The origin of NaN or infinity: the first tensor that contains them."""

from dataclasses import replace

import torch

from pellucid.combine import join
from pellucid.combine.base import buffer_paths
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import in_batches, is_user_defined
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.layers.base import Mode
from pellucid.nested import flatten
from pellucid.objective import seeded
from pellucid.training.device import on_device
from pellucid.training.diagnose import NotFinite, StoppedError, diagnose, diagnose_output, weights_fault
from pellucid.training.layer_statistics import seed_step
from pellucid.training.reading import batch_loader

MAX_TARGET = 1e16  # targets whose squares, summed over a batch, are near the largest float32, 3e38


def find(case: Case) -> list[Finding]:
    """Examine the initial weights, the step in which the training or a rehearsal stopped, and the model's outputs."""
    if fault := weights_fault(flatten(case.initial.params)):
        return [_finding(case, fault, 0)]
    if isinstance(case.stopped, StoppedError):
        return [_finding(case, case.stopped.fault, case.stopped.step)]
    if case.trainable and case.rehearsal.has_failed and not case.rehearsal.stopped:
        step, fault = _first_fault(case)
        return [_finding(case, fault, step)]
    with torch.inference_mode():
        for batch in in_batches(case.model, case.inputs(case.sample)):
            if fault := diagnose_output(case.model.net, case.model.params, batch):
                return [_finding(case, fault, None)]
    return []


def _first_fault(case: Case) -> tuple[int, NotFinite]:
    """Return the step in which the rehearsal failed, counted from 1, and the first tensor that is not finite.

    The rehearsal is repeated until just before that step, then each tensor of the step is examined. If the weights are
    already not finite, the step before is examined: the cause is in its gradients, or else in its update.
    """
    n_steps = len(case.rehearsal.losses)
    weight_fault = None
    for steps in range(n_steps, max(n_steps - 2, -1), -1):
        model = case.rehearse(RehearsalSettings(steps)).model
        buffers = buffer_paths(model.net)
        trainable = {path: value for path, value in flatten(model.params).items() if path not in buffers}
        if fault := weights_fault(trainable):
            weight_fault = fault
            continue
        loader = batch_loader(case.model, case.train, min(case.batch_size, len(case.train)), case.augment)
        batch = next(iter(loader.epoch(*divmod(steps, len(loader)))))
        mode = Mode(True, seed_step(seeded(model.device), model.seed, steps))
        with torch.inference_mode():
            fault = diagnose(model.objective, model.params, trainable, on_device(batch, model.device), mode)
        if fault:
            return steps + 1, fault
        if weight_fault:
            return steps + 1, replace(weight_fault, note="from an update whose gradients are finite")
    fault = weight_fault or NotFinite("loss", "", "", "its value", "NaN or infinity", 1, ())
    return n_steps + (not weight_fault), fault


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
        path = "train"
        cause = "the augmentation or the preprocessing turns finite data into NaN or infinity"
        fix = "check the values that these return"
    elif fault.kind == "weight" and not step:
        if step is None and path in buffer_paths(case.model.net):
            return Finding(NAME, path, evidence)  # running statistics of outputs that grew until they overflowed
        cause = f"the weights contain NaN or infinity{'' if step is None else ' before the first step'}"
        fix = "check how they are initialized, or the file that they were read from"
    elif step is not None and step > 1:
        return Finding(NAME, path or "training", evidence)  # updates or values grew until they overflowed
    else:
        cause = "this layer divides by 0, takes the logarithm or root of an invalid value, or overflows"
        fix = "check the inputs of this layer, and add a small constant where it divides or takes a logarithm"
    return Finding(NAME, path or "training", evidence, cause, fix, is_fault=True)


def _loss_finding(case: Case, evidence: Evidence) -> Finding:
    """Return the finding for a loss that is not finite; only losses that are not for regression take a logarithm."""
    if not case.compares:
        cause = "the loss takes a logarithm of 0, or its inputs are too large"
        fix = "use a loss that contains the softmax or sigmoid, or add a small constant in the logarithm"
        return Finding(NAME, "loss", evidence, cause, fix, is_fault=is_user_defined(case.model.loss))
    if float(case.train.y.double().abs().max()) > MAX_TARGET:
        cause = "the targets are very large"
        fix = "standardise them: subtract their mean and divide by their standard deviation"
        return Finding(NAME, "loss", evidence, cause, fix, is_fault=True)
    return Finding(NAME, "loss", evidence)


NAME = "nan-origin"
CHECK = Check(NAME, find)
