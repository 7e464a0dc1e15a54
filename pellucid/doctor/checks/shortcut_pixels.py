"""Labels that a few pixels give away."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import float_images
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number
from pellucid.doctor.measure.answered import answered
from pellucid.errors import PellucidError
from pellucid.metrics import classes_of

ENOUGH = 200  # examples
SHARE, MOST = 1 / 50, 10  # of the values of a picture, and how many at most
TOLD = 0.95  # of the other half's labels, by these pixels alone
FEW = 3  # classes, which a pixel of a normal picture may tell apart: these have to be told by values that
EXACT = 0.995  # say nearly all, while the pixels around them do not:
AROUND = 0.9
BINS = 16
CANDIDATES = 128  # pixels, of which the best are chosen one by one


def look(case: Case) -> list[Finding]:
    """Guess the labels of one half of a sample from single pixels by the other half (naive Bayes)."""
    part = case.sample
    if not case.classifies or part.x.dim() != 4 or len(part) < ENOUGH or int(part.y.min()) < 0:
        return []
    x, classes = float_images(part.x).flatten(1), len(part.y.unique())
    most = min(max(int(SHARE * x.shape[1]), 1), MOST)
    places, told = _greedy(x, part.y, most)
    if classes < 2 or told < (EXACT if classes <= FEW else TOLD):
        return []
    _, height, width = part.x.shape[1:]
    at = [(int(place) % (height * width) // width, int(place) % width) for place in places]
    if classes <= FEW and (len(places) > 1 or _around(x, part.y, places[0], width) > AROUND):
        return []
    evidence: dict[str, Number] = {
        "pixels": len(places),
        "rows_and_columns": ", ".join(f"{row}:{column}" for row, column in at),
        "labels_told_by_these_alone": told,
        "examples": len(part),
    }
    evidence |= _without(case, places)
    cause = "a few pixels tell the label: a mark, a border or a number that was written into the pictures"
    fix = "crop or blank these pixels in all pictures, find out what writes them, and train again"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _likelihoods(x: Tensor, y: Tensor) -> Tensor:
    """Return for the second half of the examples ln p(bin of each value | class), (P, n, K), by the first half."""
    n, count = len(x) // 2, int(y.max()) + 1
    low, high = x.amin(0), x.amax(0)
    bins = ((x - low) / (high - low).clamp_min(1e-12) * (BINS - 1)).round().long()  # (N, P)
    hot = F.one_hot(y[:n], count).float()  # (n, K)
    table = torch.stack([hot.t() @ (bins[:n] == k).float() for k in range(BINS)], 2) + 1 / BINS  # (K, P, BINS)
    table = (table / table.sum(2, keepdim=True)).log()
    return table.permute(1, 2, 0).gather(1, bins[n:].t()[:, :, None].expand(-1, -1, count))


def _greedy(x: Tensor, y: Tensor, most: int) -> tuple[list[int], float]:
    """Return the places of the few values that together tell most labels, and the share of these."""
    n = len(x) // 2
    varies = (x.amax(0) > x.amin(0)).nonzero().flatten()
    spread = torch.stack([(x[:n, varies] - x[:n, varies].mean(0)).square().mean(0)] * 1)[0]
    centres = torch.stack([x[:n][y[:n] == label][:, varies].mean(0) for label in y[:n].unique()])
    ranked = varies[(centres.var(0, correction=0) / spread.clamp_min(1e-12)).argsort(descending=True)[:CANDIDATES]]
    if not len(ranked):
        return [], 0.0
    told = _likelihoods(x[:, ranked], y)  # (P, n, K)
    prior = torch.log(F.one_hot(y[:n], told.shape[2]).float().sum(0) + 1e-6)
    total, chosen, best = prior.expand(told.shape[1:]), [], 0.0
    for _ in range(most):
        right = ((total + told).argmax(2) == y[n:]).float().mean(1)
        place = int(right.argmax())
        if float(right[place]) <= best:
            break
        best, total = float(right[place]), total + told[place]
        chosen.append(int(ranked[place]))
    return chosen, best


def _around(x: Tensor, y: Tensor, place: int, width: int) -> float:
    """Return the share of labels that the best of the four values around one tells."""
    around = [at for at in (place - width, place - 1, place + 1, place + width) if 0 <= at < x.shape[1]]
    return _greedy(x[:, around], y, 1)[1]


def _without(case: Case, places: list[int]) -> dict[str, Number]:
    """Return how often the trained model is right as it is, and with these values from other examples."""
    both = answered(case)
    if both is None:
        return {}
    part = both[0].part
    x = float_images(part.x).clone()
    flat = x.view(len(x), -1)
    flat[:, places] = flat[:, places].roll(len(x) // 2, 0)[
        torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    ]
    try:
        right = float((classes_of(case.model.predict(x)) == part.y).float().mean())
    except PellucidError:
        return {}
    return {"accuracy": both[0].accuracy, "accuracy_with_these_pixels_from_other_examples": right}


NAME = "shortcut-pixels"
CHECK = Check(
    NAME,
    "A few pixels of the pictures give the labels away.",
    look,
    explains=("overfitting", "miscalibration", "shuffled-labels"),
    examples=ENOUGH,
    proven=True,
)
