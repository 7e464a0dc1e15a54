"""The step of a rehearsal in which NaN or infinity first appears, and the tensor."""

from dataclasses import dataclass, replace

import torch

from pellucid.combine.base import buffer_paths
from pellucid.doctor.case import Case
from pellucid.doctor.measure.rehearsal import Settings
from pellucid.layers.base import Mode
from pellucid.objective import seeded
from pellucid.training.batches import batches
from pellucid.training.device import on_device
from pellucid.training.diagnose import diagnose, weights_fault
from pellucid.training.draws import draws
from pellucid.training.notfinite import NotFinite
from pellucid.tree import flatten


@dataclass(frozen=True)
class Origin:
    """step: from 1; 0 is before the first one. fault: the tensor."""

    step: int
    fault: NotFinite


def origin(case: Case) -> Origin:
    """Take the rehearsal, which broke, up again just before it did, and look at each tensor of the next step.

    Where the weights are not finite by then, one step earlier: the gradient, or else the update, has made them so.
    """
    done = len(case.rehearsal.losses)
    wrong = None
    for steps in range(done, max(done - 2, -1), -1):
        model = case.rehearse(Settings(steps)).model
        learned = {path: value for path, value in flatten(model.params).items() if path not in buffer_paths(model.net)}
        fault = weights_fault(learned)
        if fault:
            wrong = fault
            continue
        loader = batches(case.model, case.train, min(case.batch_size, len(case.train)), case.augment)
        batch = next(iter(loader.epoch(*divmod(steps, len(loader)))))
        mode = Mode(True, draws(seeded(model.device), model.seed, steps))
        with torch.inference_mode():
            fault = diagnose(model.objective, model.params, learned, on_device(batch, model.device), mode)
        if fault:
            return Origin(steps + 1, fault)
        if wrong:
            return Origin(steps + 1, replace(wrong, note="from an update whose gradients are finite"))
    return Origin(done + (not wrong), wrong or NotFinite("loss", "", "", "its value", "NaN or infinity", 1, ()))
