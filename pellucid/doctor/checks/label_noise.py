"""Single wrong labels among the training examples, from about one in twenty on."""

from dataclasses import replace

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import select
from pellucid.doctor.predictions import predictions
from pellucid.doctor.rehearsal import Settings
from pellucid.doctor.remedies import small_network
from pellucid.errors import PellucidError

MIN_EXAMPLES = 400
MAX_EXAMPLES = 2_000  # for the small network
SUREST = 0.4  # of the examples, the ones that a judge is surest of
NOISE = 0.03  # of these; large collections have up to 0.1 in all (Northcutt, Athalye and Mueller 2021, Pervasive ...)
SURE = 3.0  # standard deviations
# Where classes overlap, judges err too, but the label is their second choice, and they err far more where unsure.
SEVERAL, FAR = 4, 0.3  # classes; share of the contradicted labels that are not even the second choice
EASY = 0.06  # by how much more often the judge may be wrong on all examples
# Wrong labels are as frequent among the very surest, half of these; mistakes of a judge become rarer there, and a
# judge that is often wrong besides is not a judge.
FLAT, UNSURE = 0.6, 0.15
STEPS, SECONDS = 300, 5.0  # of the small network on one half
SHOWN = 5  # examples


def look(case: Case) -> list[Finding]:
    """Compare labels with the predictions of judges that were not trained on them, where these are surest.

    A judge's own mistakes are where it is unsure; what is left where it is sure is wrong labels (Northcutt, Jiang and
    Chuang 2021, Confident Learning). Each judge's share is an upper bound, so the lowest counts. The simple classifier
    is the first judge; where it contradicts labels, a small network that learned from the other half of the examples.
    """
    simple = case.simple
    if simple is None or len(simple.y) < MIN_EXAMPLES:
        return []
    judged = [_judged(simple.indices, simple.held_out_scores, simple.y)]
    if judged[0].clear:
        judged.append(_by_network(case))
    found = min(judged, key=lambda one: one.share)
    if not found.clear:
        return []
    evidence: Evidence = {
        "judged_by": "a simple classifier" if found is judged[0] else "a small network",
        "examples": found.n,
        "contradicted_labels": found.wrong,
        "share": found.share,
        "for_example": ", ".join(map(str, found.indices[:SHOWN].tolist())),
    }
    cause = f"about {100 * found.share:.0f} % of the training labels are wrong"
    fix = "look at the examples that are named first, and correct or leave out what is labelled wrong"
    return [Finding(NAME, "train", evidence, cause, fix)]


class _Judged:
    """The labels that a judge contradicts where it is surest, among n, by index, the surest first."""

    def __init__(self, n: int, indices: Tensor) -> None:
        self.n, self.indices = n, indices
        self.wrong = len(indices)
        self.share = self.wrong / n
        # Above NOISE, not by chance.
        self.clear = self.share - SURE * (NOISE * (1 - NOISE) / n) ** 0.5 > NOISE


def _judged(indices: Tensor, scores: Tensor, y: Tensor) -> _Judged:
    """Compare the surest predictions; indices: of the examples in their part (n,); scores: (n, K); y: labels (n,)."""
    best = scores.topk(2, dim=1)
    wrong = best.indices[:, 0] != y
    order = (best.values[:, 0] - best.values[:, 1]).argsort(descending=True)
    surest = order[: int(SUREST * len(y))]
    found = surest[wrong[surest]]
    n = len(surest)
    share, top, every = (float(part.float().mean()) for part in (wrong[surest], wrong[order[: n // 2]], wrong))
    far = float((best.indices[found, 1] != y[found]).float().mean()) if len(found) else 0.0
    senseless = (scores.shape[1] >= SEVERAL and far > FAR) or every - share < EASY
    flat = top >= FLAT * share and every - top <= UNSURE
    return _Judged(n, indices[found] if senseless and flat else indices[:0])


def _by_network(case: Case) -> _Judged:
    """Judge by a small network, trained on each half of the examples, the other half."""
    part = case.train
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(case.model.seed))[:MAX_EXAMPLES]
    halves = order[::2], order[1::2]
    scores: list[Tensor] = []
    for known, other in (halves, halves[::-1]):
        half = replace(case, train=select(part, known), validation=None)
        try:
            done = small_network(half).rehearse(Settings(STEPS, seconds=SECONDS, whole=True))
        except PellucidError:
            return _Judged(1, order[:0])
        scores.append(torch.zeros(len(other), 1) if done.broke else predictions(done.model, select(part, other)).y)
    every = torch.cat(halves[::-1])
    return _judged(every, torch.cat(scores), part.y[every])


NAME = "label-noise"
CHECK = Check(NAME, look, explains=("overfitting", "miscalibration"), examples=MIN_EXAMPLES, proven=True)
