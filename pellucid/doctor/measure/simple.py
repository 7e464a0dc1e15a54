"""A simple classifier that knows nothing of the network: what of the labels the inputs tell without it."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays

SIDE = 12  # pixels: enough for digits and hands
MOST = 1_000  # examples; the inverse of their kernel takes 0.1 s
CLASSES = 20  # the most frequent ones, so that each has 50 examples
# Without it the fit goes through every label, wrong ones too; of a kernel that is 1 at most.
RIDGE = 0.1


@dataclass(frozen=True)
class Hits:
    """How many of n guesses are right, and the share that would be if guesses and labels had nothing in common."""

    right: int
    n: int
    chance: float

    @property
    def share(self) -> float:
        """The share of right guesses."""
        return self.right / self.n

    @property
    def above(self) -> float:
        """By how many standard deviations of the binomial distribution the share is above chance."""
        return (self.share - self.chance) / sqrt(max(self.chance * (1 - self.chance), 1 / self.n) / self.n)


def hits(guesses: Tensor, labels: Tensor) -> Hits:
    """Count; guesses and labels: classes (N,)."""
    n, count = len(labels), int(torch.maximum(guesses.max(), labels.max())) + 1
    told, true = (values.bincount(minlength=count).double() / n for values in (guesses, labels))
    return Hits(int((guesses == labels).sum()), n, float((told * true).sum()))


@dataclass(frozen=True, eq=False)
class Simple:
    """Kernel ridge regression onto the classes, with a Gaussian kernel as wide as the median distance.

    places: of the n examples in their part; y: their labels; classes: those that it knows (K,), ascending. features:
    (n, D). inverse: (n, n), of the kernel matrix with the ridge. width: the median squared distance.
    """

    places: Tensor
    y: Tensor
    classes: Tensor
    features: Tensor
    centre: Tensor
    scale: Tensor
    inverse: Tensor
    width: float

    @cached_property
    def held_out(self) -> Tensor:
        """The guess for each of its own examples by the others, (n,)."""
        return self.relabelled(self.y)

    @cached_property
    def held_out_scores(self) -> Tensor:
        """How much each class speaks for each of its own examples by the others, (n, K)."""
        return _left_out_scores(self.inverse, self.y)

    @cached_property
    def own(self) -> Hits:
        """How many of these guesses are right."""
        return hits(self.held_out, self.y)

    def relabelled(self, y: Tensor) -> Tensor:
        """Return the guess for each example by the others, if the labels were y (n,)."""
        return _left_out(self.inverse, y)

    def of_size(self, n: int) -> Hits:
        """Return how many guesses would be right with n of the examples, drawn at random."""
        chosen = torch.randperm(len(self.y), generator=generator(0))[:n]
        kernel = torch.linalg.inv(self.inverse)[chosen][:, chosen]
        return hits(_left_out(torch.linalg.inv(kernel), self.y[chosen]), self.y[chosen])

    def told(self, x: Tensor) -> Tensor:
        """Return the guesses for other inputs (N, ...)."""
        features = (small(x) - self.centre) / self.scale
        kernel = torch.exp(-2 * torch.cdist(features, self.features).square() / self.width)
        return (kernel @ (self.inverse @ _columns(self.y))).argmax(1)


def simple(part: Arrays, seed: int, among: Tensor | None = None) -> Simple | None:
    """Fit the classifier to examples as they are `drawn`; None where it cannot be."""
    if not len(part) or int(part.y.min()) < 0:
        return None
    places = drawn(part.y, seed, among)
    classes = part.y[places].unique()
    if len(classes) < 2:
        return None
    features, y = small(part.x[places]), part.y[places]
    centre = features.mean(0)
    # Pixels share one scale, so that borders do not count for more than they are; other features have each their own.
    scale = features.std(0) if part.x.dim() < 4 or part.x.shape[-1] == 1 else features.std().expand_as(centre)
    scale = torch.where(scale > 0, scale, 1.0)
    features = (features - centre) / scale
    squares = torch.cdist(features, features).square()
    width = float(squares.median())
    if width <= 0:
        return None
    kernel = torch.exp(-2 * squares / width)
    inverse = torch.linalg.inv(kernel + RIDGE * torch.eye(len(kernel)))
    return Simple(places, y, classes, features, centre, scale, inverse, width)


def drawn(y: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """Return the places of about MOST of the labels y (N,), as many of each class where there are, ascending.

    among: the classes (K,), so that two parts can be compared; without it the CLASSES commonest ones.
    """
    counts = y.bincount().sort(descending=True, stable=True)
    there = counts.indices[counts.values > 0]
    kept = there[:CLASSES] if among is None else there[torch.isin(there, among)]
    if not len(kept):
        return kept
    each = -(-MOST // len(kept))
    order = torch.randperm(len(y), generator=generator(seed))
    return torch.cat([order[y[order] == label][:each] for label in kept.tolist()]).sort().values


def small(x: Tensor) -> Tensor:
    """Return inputs (N, ...) as features (N, D): images of at most SIDE x SIDE pixels."""
    x = float_images(x)
    if x.dim() == 4:
        x = F.adaptive_avg_pool2d(x, (min(x.shape[2], SIDE), min(x.shape[3], SIDE)))
    return x.flatten(1)


def _left_out(inverse: Tensor, y: Tensor) -> Tensor:
    """Return the guess for each example by the others; inverse: (n, n), of their kernel matrix; y: their labels (n,).

    What leaving one out gives is known without leaving it out: Rasmussen, Williams 2006, equation 5.12.
    """
    return _left_out_scores(inverse, y).argmax(1)


def _left_out_scores(inverse: Tensor, y: Tensor) -> Tensor:
    wanted = _columns(y)
    return wanted - inverse @ wanted / inverse.diagonal()[:, None]


def _columns(y: Tensor) -> Tensor:
    wanted = F.one_hot(y).float()
    return wanted - wanted.mean(0)
