"""A loss that contains the softmax, after a network that already outputs probabilities."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.training.evaluate import output_batches

MAX_SUM_ERROR = 1e-3  # difference between 1 and the sum of an example's probabilities
MAX_LOSS_CHANGE = 1e-4  # relative; a softmax is invariant to a constant that is added to all outputs of an example


def find(case: Case) -> list[Finding]:
    """Compare the loss before and after a constant is added to the outputs, which works for any layer and loss."""
    model, probe = case.model, case.probe
    if not case.classifies or len(model.output_shape) != 1 or model.output_shape[0] < 2:
        return []
    with torch.inference_mode():
        y = torch.cat([y for _, y in output_batches(model.net, model.params, probe.x, len(probe), model.stats)]).float()
        sums = y.sum(1)
        if not bool((y >= 0).all()) or not bool(((sums - 1).abs() < MAX_SUM_ERROR).all()):
            return []
        shifted = y + 1 + torch.arange(len(y))[:, None] % 3  # a different constant for each example
        loss, shifted_loss = (float(model.loss(outputs, probe.y)[0]) for outputs in (y, shifted))
    if not abs(shifted_loss - loss) <= MAX_LOSS_CHANGE * abs(loss):
        return []
    certain_prediction = torch.eye(y.shape[1])[0]  # probability 1 for one class
    return [
        Finding(
            NAME,
            "training",
            evidence={
                "smallest_output": float(y.min()),
                "largest_output": float(y.max()),
                "smallest_sum_of_a_row": float(sums.min()),
                "largest_sum_of_a_row": float(sums.max()),
                "loss": loss,
                "lowest_loss_that_probabilities_can_reach": float(-certain_prediction.log_softmax(0)[0]),
            },
            cause="the network outputs probabilities, and the loss applies a softmax to them again",
            fix="let the network output logits, without a softmax at its end",
        )
    ]


NAME = "softmax-twice"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("underfitting",),
)  # fmt: skip
