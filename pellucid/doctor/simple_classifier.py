"""A simple classifier, independent of the network, that measures how well the inputs predict the labels."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.seeds import generator
from pellucid.data.source import Arrays
from pellucid.doctor.inputs import small_features

MAX_EXAMPLES = 1_000  # the inverse of their kernel matrix takes 0.1 s
MAX_CLASSES = 20  # the most frequent classes are used; each then has 50 examples
# Added to the kernel's diagonal, where the kernel is 1; without it, the classifier would fit wrong labels exactly.
RIDGE = 0.1
N_EXCHANGES = 40  # random exchanges of the labels, whose agreements show what chance alone reaches
# The accuracy must exceed chance by MIN_ABOVE_CHANCE to measure whether a classifier fails on other inputs. It does if
# the accuracy there exceeds chance by less than the fraction MAX_RETAINED of that.
MIN_ABOVE_CHANCE, MAX_RETAINED = 0.3, 0.6


@dataclass(frozen=True)
class CorrectCount:
    """The number of correct predictions, `right`, among n.

    chance: the expected fraction of correct predictions if predictions and labels were independent.
    """

    right: int
    n: int
    chance: float

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions."""
        return self.right / self.n

    @property
    def deviations_above_chance(self) -> float:
        """The accuracy minus chance, in standard deviations of the binomial distribution."""
        return (self.accuracy - self.chance) / sqrt(max(self.chance * (1 - self.chance), 1 / self.n) / self.n)


def count_correct(predictions: Tensor, labels: Tensor) -> CorrectCount:
    """Count the correct predictions; predictions and labels: classes (N,)."""
    n, count = len(labels), int(torch.maximum(predictions.max(), labels.max())) + 1
    predicted, true = (values.bincount(minlength=count).double() / n for values in (predictions, labels))
    return CorrectCount(int((predictions == labels).sum()), n, float((predicted * true).sum()))


@dataclass(frozen=True, eq=False)
class KernelClassifier:
    """Kernel ridge regression on one-hot labels, with the kernel exp(-2 d²/m), m the median squared distance.

    indices: (n,), the examples' indices in the data. y: (n,), their labels. classes: (K,), ascending. features: (n, D),
    standardized by centre and scale, (D,) each. size: the height and width of images. inverse: (n, n), the inverse of
    the kernel matrix plus RIDGE times the identity. width: m.
    """

    indices: Tensor
    y: Tensor
    classes: Tensor
    features: Tensor
    centre: Tensor
    scale: Tensor
    size: torch.Size
    inverse: Tensor
    width: float

    @cached_property
    def leave_one_out_predictions(self) -> Tensor:
        """The leave-one-out prediction for each example, (n,)."""
        return self.leave_one_out_scores.argmax(1)

    @cached_property
    def leave_one_out_scores(self) -> Tensor:
        """The leave-one-out class scores of each example, (n, largest label + 1)."""
        return _leave_one_out_scores(self.inverse, self.y)

    @cached_property
    def leave_one_out(self) -> CorrectCount:
        """The number of correct leave-one-out predictions."""
        return count_correct(self.leave_one_out_predictions, self.y)

    def correct_count_of_size(self, n: int) -> CorrectCount:
        """Count the correct leave-one-out predictions of a classifier fitted to n randomly drawn examples of these."""
        indices = torch.randperm(len(self.y), generator=generator(0))[:n]
        inverse = torch.linalg.inv(torch.linalg.inv(self.inverse)[indices][:, indices])
        return count_correct(_leave_one_out_scores(inverse, self.y[indices]).argmax(1), self.y[indices])

    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted classes for other inputs (N, ...)."""
        return self.scores(x).argmax(1)

    def scores(self, x: Tensor) -> Tensor:
        """Return the class scores of other inputs (N, ...), (N, largest label + 1)."""
        features = (small_features(x, self.size) - self.centre) / self.scale
        kernel = torch.exp(-2 * torch.cdist(features, self.features).square() / self.width)
        return kernel @ (self.inverse @ _centred_one_hot(self.y))

    def fails_on(self, x: Tensor, y: Tensor) -> bool:
        """Return whether the classifier is accurate on its own examples, and far less accurate on others (N, ...)."""
        own = self.leave_one_out
        accuracy = float((self.predict(x) == y).float().mean())
        limit = own.chance + MAX_RETAINED * (own.accuracy - own.chance)
        return own.accuracy > own.chance + MIN_ABOVE_CHANCE and accuracy < limit

    def distinguishes(self, first: Tensor, second: Tensor) -> bool:
        """Return whether the classifier is accurate, and often answers two draws (N, ...) of examples differently."""
        own = self.leave_one_out
        is_other_shape = small_features(first, self.size).shape[1] != self.features.shape[1]
        if is_other_shape or own.accuracy <= own.chance + MIN_ABOVE_CHANCE:
            return False
        equal = count_correct(self.predict(first), self.predict(second))
        return equal.accuracy - equal.chance < MAX_RETAINED * (own.accuracy - own.chance)


def fit_simple_classifier(data: Arrays, seed: int, among: Tensor | None = None) -> KernelClassifier | None:
    """Fit the classifier to the examples selected by `balanced_indices`.

    Returns None for negative labels, fewer than two classes, or equal inputs. among: see `balanced_indices`.
    """
    if not len(data) or int(data.y.min()) < 0:
        return None
    indices = balanced_indices(data.y, seed, among)
    classes = data.y[indices].unique()
    if len(classes) < 2:
        return None
    x, y = data.x[indices], data.y[indices]
    features, centre, scale = _standardised(x)
    width, inverse = _inverse_kernel(features)
    if inverse is None:
        return None
    return KernelClassifier(indices, y, classes, features, centre, scale, x.shape[2:], inverse, width)


def relation_to_labels(x: Tensor, y: Tensor, seed: int) -> float:
    """Return how well inputs (N, ...) predict labels of 0 and 1 (N, K) by leave-one-out, compared to exchanged rows.

    In standard deviations above the mean of N_EXCHANGES random exchanges of the rows, which keep labels together that
    come together; 0 for equal inputs.
    """
    _, inverse = _inverse_kernel(_standardised(x)[0])
    if inverse is None:
        return 0.0
    target = (y.float() - y.float().mean(0)) / y.float().std(0).clamp_min(1e-12)
    rng = generator(seed)
    rows = [torch.arange(len(y)), *(torch.randperm(len(y), generator=rng) for _ in range(N_EXCHANGES))]
    agreements = [float((_left_out(inverse, target[row]) * target[row]).mean()) for row in rows]
    by_chance = torch.tensor(agreements[1:], dtype=torch.float64)
    return (agreements[0] - float(by_chance.mean())) / max(float(by_chance.std()), 1e-12)


def _standardised(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the standardised features of inputs (N, ...), (N, D), and their mean and scale before, (D,) each.

    Pixels have one common scale, so nearly constant borders are not amplified; other features are scaled separately.
    """
    features = small_features(x)
    centre = features.mean(0)
    scale = features.std(0) if x.dim() < 4 or x.shape[-1] == 1 else features.std().expand_as(centre)
    scale = torch.where(scale > 0, scale, 1.0)
    return (features - centre) / scale, centre, scale


def _inverse_kernel(features: Tensor) -> tuple[float, Tensor | None]:
    """Return the width of the kernel and the inverse of its matrix for features (n, D); None if they are equal."""
    squares = torch.cdist(features, features).square()
    width = float(squares.median())
    if width <= 0:
        return width, None
    return width, torch.linalg.inv(torch.exp(-2 * squares / width) + RIDGE * torch.eye(len(features)))


def balanced_indices(y: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """Return ascending indices of about MAX_EXAMPLES examples, equally many of each class if available.

    y: the labels, (N,). among: the classes to draw from, (K,), for the comparison of two data sets; None for the
    MAX_CLASSES most frequent ones.
    """
    counts = y.bincount().sort(descending=True, stable=True)
    present_classes = counts.indices[counts.values > 0]
    classes = present_classes[:MAX_CLASSES] if among is None else present_classes[torch.isin(present_classes, among)]
    if not len(classes):
        return classes
    per_class = -(-MAX_EXAMPLES // len(classes))
    order = torch.randperm(len(y), generator=generator(seed))
    return torch.cat([order[y[order] == label][:per_class] for label in classes.tolist()]).sort().values


def _leave_one_out_scores(inverse: Tensor, y: Tensor) -> Tensor:
    """Return the leave-one-out class scores, (n, largest label + 1), in closed form.

    inverse: as in `KernelClassifier`, (n, n). y: the labels, (n,). Rasmussen and Williams 2006, equation 5.12.
    """
    return _left_out(inverse, _centred_one_hot(y))


def _left_out(inverse: Tensor, target: Tensor) -> Tensor:
    """Return the leave-one-out predictions of targets (n, K)."""
    return target - inverse @ target / inverse.diagonal()[:, None]


def _centred_one_hot(y: Tensor) -> Tensor:
    """Return the one-hot labels minus their mean over examples, (n, largest label + 1)."""
    target = F.one_hot(y).float()
    return target - target.mean(0)
