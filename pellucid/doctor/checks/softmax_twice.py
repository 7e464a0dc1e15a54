"""A loss that contains the softmax, behind a network that outputs probabilities already."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.training.evaluate import outputs

SUM = 1e-3  # that a row of probabilities may miss 1 by
SAME = 1e-4  # of the loss: a softmax ignores what is added to all outputs of an example, up to this change of the loss


def look(case: Case) -> list[Finding]:
    """Compare the loss of the outputs with that of shifted ones, for layers and losses of any kind."""
    model, part = case.model, case.probe
    if not case.classifies or len(model.output_shape) != 1 or model.output_shape[0] < 2:
        return []
    with torch.inference_mode():
        y = torch.cat([y for _, y in outputs(model.net, model.params, part.x, len(part), model.stats)]).float()
        sums = y.sum(1)
        if not bool((y >= 0).all()) or not bool(((sums - 1).abs() < SUM).all()):
            return []
        before, after = (float(model.loss(one, part.y)[0]) for one in (y, y + 1 + torch.arange(len(y))[:, None] % 3))
    if not abs(after - before) <= SAME * abs(before):
        return []
    sure = torch.eye(y.shape[1])[0]  # the probabilities of an example whose class gets all
    evidence = {
        "smallest_output": float(y.min()),
        "largest_output": float(y.max()),
        "smallest_sum_of_a_row": float(sums.min()),
        "largest_sum_of_a_row": float(sums.max()),
        "loss": before,
        "lowest_loss_that_probabilities_can_reach": float(-sure.log_softmax(0)[0]),
    }
    cause = "the network outputs probabilities, and the loss makes probabilities of them once more"
    fix = "end the network in plain scores, without a softmax of its own"
    return [Finding(NAME, "training", evidence, cause, fix)]


NAME = "softmax-twice"
CHECK = Check(
    NAME, look, proven=True,
    explains=("vanishing-gradients", "learning-rate-too-low", "underfitting", "miscalibration", "collapsed-predictions",
              "update-ratio"),
)  # fmt: skip
