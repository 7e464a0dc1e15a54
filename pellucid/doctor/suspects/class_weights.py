"""Suspects in the weights of classes: weights that are far from the balance, the wrong way round, or missing."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays, Source
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.suspects.losses import MIN_NUMBER_RATIO, n_outputs
from pellucid.doctor.training_case import TrainingCase
from pellucid.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy

MIN_IMBALANCE = 20.0  # count of the most frequent class divided by the count of the least frequent one
# The same of binary targets of which a trained model predicts fewer than MAX_MISSED_RECALL of the positive ones.
MIN_MISSED_IMBALANCE, MAX_MISSED_RECALL, MIN_PROBABILITY = 4.0, 0.3, 0.5
MAX_WEIGHT_RATIO = 100.0  # largest class weight divided by the smallest; a higher ratio is unusual
# The same of classes whose rarest one a trained model finds in held-out examples less often than the most frequent one
# by MIN_LACKING_RECALL; at least MIN_HELD_OUT of them are needed.
MIN_CLASS_IMBALANCE, MIN_LACKING_RECALL, MIN_HELD_OUT = 10.0, 0.3, 8
# The loss of accuracy, relative to the gain of mean recall by weights, above which they mainly move the threshold.
MAX_COST = 1 / 3
MIN_UNEVEN = 1.5  # ratio of weights, and of shares, from which weights can be the wrong way round
# Of weights the wrong way round, which are a power of the shares: the correlation of the logarithms, and that power.
MIN_CORRELATION, MIN_POWER, MAX_POWER = 0.9, 0.4, 2.5
N_MEASURED = 32  # examples of each class from which the weights of an own loss are measured
MAX_WEIGHT_ERROR = 0.01  # of gradients, relative to the largest, by which they differ from those of a weighted loss


class Weighing(NamedTuple):
    """A loss that is cross-entropy with weights of the classes.

    loss: the same of the library. weights: of the classes (K,), for positive targets those of 0 and 1. shares: of the
    classes among the targets (K,).
    """

    loss: SoftmaxCrossEntropy | BinaryCrossEntropy
    weights: Tensor
    shares: Tensor

    @property
    def is_binary(self) -> bool:
        """Whether the classes are the values 0 and 1 of each output."""
        return isinstance(self.loss, BinaryCrossEntropy)

    @property
    def differ(self) -> bool:
        """Whether the weights of classes that occur differ."""
        present = self.weights[self.shares > 0]
        return bool((present > (1 + MAX_WEIGHT_ERROR) * present.min()).any())

    def balanced(self, power: float) -> SoftmaxCrossEntropy | BinaryCrossEntropy:
        """Return the loss with weights of this power of the inverse shares."""
        weights = (self.shares > 0) / self.shares.clamp_min(1e-9) ** power
        if isinstance(self.loss, BinaryCrossEntropy):
            return replace(self.loss, pos_weight=float(weights[1] / weights[0]))
        return replace(self.loss, class_weights=tuple((weights * (len(weights) / weights.sum())).tolist()))


def weighing(case: TrainingCase) -> Weighing | None:
    """Return the weights of the classes in the loss, those of an own one from its gradients; None for other losses."""
    loss: Any = getattr(case.model.objective, "loss", None)
    if not isinstance(case.train, Arrays):
        return None
    y, count = case.train.y, n_outputs(case)
    is_own = not isinstance(loss, SoftmaxCrossEntropy | BinaryCrossEntropy) and hasattr(loss, "criterion")
    has_axis = y.dim() > 1 and y.shape[1] == count
    are_labels = y.is_floating_point() and (count == 1 or has_axis) and bool(((y == 0) | (y == 1)).all())
    if type(loss) is BinaryCrossEntropy or (is_own and are_labels):
        share = float(_positive_shares(y, count).median())
        share = max(share, 1 / y.numel())
        shares = torch.tensor([1 - share, share], dtype=torch.float64)
        if isinstance(loss, BinaryCrossEntropy):
            positive = torch.as_tensor(loss.pos_weight, dtype=torch.float64).median()
            return Weighing(loss, torch.stack([torch.ones_like(positive), positive]), shares)
        plain = BinaryCrossEntropy(reduction="mean")
    elif (type(loss) is SoftmaxCrossEntropy or is_own) and not y.is_floating_point():
        ignored = getattr(loss, "ignore", None)
        labels = y.flatten() if ignored is None else y[y != ignored]
        counts = labels[(labels >= 0) & (labels < count)].bincount(minlength=count).double()
        shares = counts / counts.sum().clamp_min(1)
        if not is_own:
            weights = torch.ones(count) if loss.class_weights is None else torch.tensor(loss.class_weights)
            return Weighing(loss, weights.double(), shares)
        plain = SoftmaxCrossEntropy()
    else:
        return None
    weights = _measured_weights(case, loss, plain, len(shares)) if isinstance(case, Case) else None
    return None if weights is None else Weighing(plain, weights, shares)


def _measured_weights(case: Case, loss: Loss, plain: Loss, count: int) -> Tensor | None:
    """Return the weights (count,) by which a loss multiplies the gradients of a plain one; None if it does not."""
    y = case.train.y
    labels = y.long()
    if y.is_floating_point() and not bool((labels == y).all() & (y >= 0).all() & (y <= 1).all()):
        return None
    of_class = [(labels == label).reshape(len(y), -1).any(1).nonzero()[:N_MEASURED, 0] for label in range(count)]
    indices = torch.cat(of_class).unique()
    y, labels = y[indices], labels[indices]
    try:
        shape = case.model.predict(case.train.x[indices]).shape
        outputs = torch.randn(shape, generator=generator(0))
        gradients, plain_gradients = (one(outputs, y)[1].double() for one in (loss, plain))
    except (PellucidError, RuntimeError, AttributeError, TypeError, ValueError):  # of other outputs or targets
        return None
    if gradients.shape != plain_gradients.shape:
        return None
    if not y.is_floating_point():
        gradients, plain_gradients = gradients.movedim(1, -1), plain_gradients.movedim(1, -1)
    labels = labels.reshape(gradients.shape if y.is_floating_point() else gradients.shape[:-1])
    weights = torch.zeros(count, dtype=torch.float64)
    for label in labels.unique().tolist():
        own, expected = gradients[labels == label], plain_gradients[labels == label]
        weights[label] = (own * expected).sum() / expected.square().sum().clamp_min(1e-30)
        limit = MAX_WEIGHT_ERROR * float(own.abs().max())
        if not float((own - weights[label] * expected).abs().max()) <= limit or weights[label] <= 0:
            return None
    return weights


def inverted_weight_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if the weight of a class in the loss is the higher the more frequent the class is."""
    found = weighing(case)
    if found is None:
        return
    is_present = (found.shares > 0) & (found.weights > 0)
    weights, shares = found.weights[is_present], found.shares[is_present]
    if len(shares) < 2 or min(float(one.max() / one.min()) for one in (weights, shares)) < MIN_UNEVEN:
        return
    x, y = (one.log() - one.log().mean() for one in (shares, weights))
    correlation, power = float(x @ y / (x.norm() * y.norm())), float(x @ y / x.square().sum())
    if correlation < MIN_CORRELATION or not MIN_POWER <= power <= MAX_POWER:
        return
    loss = found.balanced(_power(case))
    number = "number of all examples / number of the class"
    if isinstance(loss, BinaryCrossEntropy):
        root = "the root of " if _power(case) < 1 else ""
        number = f"pos_weight of about {loss.pos_weight:.2g}, {root}negative targets / positive ones"
    yield suspect(
        "class-weights", "the class weights of the loss are the wrong way round: the more frequent a class is, the "
        "more it counts", f"weight classes by the inverse of their counts ({number})",
        "classes weighted by inverse counts", lambda case: rebuilt(case, loss=loss), path="loss", unusual=True,
        key="inverse-weights", weight_of_the_most_frequent=float(weights[shares.argmax()]),
        share_of_it=float(shares.max()), weight_of_the_least_frequent=float(weights[shares.argmin()]),
        share_of_that=float(shares.min()),
    )  # fmt: skip


def _power(case: TrainingCase) -> float:
    """Return the power of the inverse shares that are weights: full ones find far too many pixels of a rare class."""
    is_map = isinstance(case.train, Arrays) and case.train.y.dim() > 2
    return 0.5 if is_map else 1.0


def loss_option_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield suspects for class weights, and for weights of positive targets that are far from their balance."""
    loss: Any = getattr(case.model.objective, "loss", None)
    weights: Any = getattr(loss, "class_weights", None)
    if _differ(weights):
        yield suspect(
            "class-weights", "the class weights of the loss are so uneven that some classes hardly count",
            "weight classes by the inverse of their counts, or not at all", "no class weights",
            lambda case: rebuilt(case, loss=replace(loss, class_weights=None)),
            unusual=_has_unusual_class_weights(case.train, weights), smallest_weight=float(min(weights)),
            largest_weight=float(max(weights)), key="no-class-weights", settings={"loss.class_weights": "none"},
        )  # fmt: skip
        if max(weights) > MAX_WEIGHT_RATIO * min(weight for weight in weights if weight > 0):
            roots = tuple(weight**0.5 for weight in weights)
            yield suspect(
                "class-weights", "class weights are so uneven that classes of large weights are predicted too often",
                "use weights that differ less, such as their square roots", "square roots of the class weights",
                lambda case: rebuilt(case, loss=replace(loss, class_weights=roots)), unusual=True,
                key="class-weight-roots", settings={"loss.class_weights": list(roots)},
                smallest_weight=float(min(weights)), largest_weight=float(max(weights)),
            )  # fmt: skip
    pos_weight = torch.as_tensor(getattr(loss, "pos_weight", 1.0), dtype=torch.float64)
    if not isinstance(case.train, Arrays) or bool((pos_weight == 1).all()):
        return
    shares = _positive_shares(case.train.y, n_outputs(case))
    balance = (1 - shares) / shares.clamp_min(1 / len(case.train))
    if _are_unusual(pos_weight, balance):
        yield suspect(
            "class-weights", "the pos_weight of the loss is so far from the number of negative targets for each "
            "positive one that one of the two hardly counts",
            "set pos_weight to at most the number of negative targets for each positive one "
            f"(about {float(balance.median()):.2g}), or to 1", "pos_weight = 1",
            lambda case: rebuilt(case, loss=replace(loss, pos_weight=1.0)), path="loss", unusual=True, key="pos-weight",
            pos_weight=float(pos_weight.median()), negatives_for_each_positive=float(balance.median()),
        )  # fmt: skip


def _differ(weights: tuple[float, ...] | None) -> bool:
    return weights is not None and min(weights) < max(weights)


def _has_unusual_class_weights(data: Source, weights: Any) -> bool:
    """Return whether a class weight is far outside the range from equal weights to the inverse of the class counts."""
    if not isinstance(data, Arrays) or data.y.is_floating_point():
        return False
    counts = data.y.flatten()
    counts = counts[counts >= 0].bincount(minlength=len(weights)).double()[: len(weights)]
    present_weights = torch.as_tensor(weights, dtype=torch.float64)[counts > 0]
    balance = 1 / counts[counts > 0]
    return _are_unusual(present_weights / present_weights.median(), balance / balance.median())


def _positive_shares(y: Tensor, n_outputs: int) -> Tensor:
    """Return the share of positive targets of each output, or of all outputs together if they have no axis in y."""
    if y.dim() > 1 and y.shape[1] == n_outputs:
        return y.double().transpose(0, 1).flatten(1).mean(1)
    if n_outputs == 1:
        return y.double().mean()[None]
    return y.flatten().bincount(minlength=n_outputs) / y.numel()


def _are_unusual(weights: Tensor, balance: Tensor) -> bool:
    """Return whether a weight is above both 1 and its balance by MIN_NUMBER_RATIO, or below both."""
    is_above = weights > MIN_NUMBER_RATIO * balance.clamp_min(1)
    is_below = weights < balance.clamp_max(1) / MIN_NUMBER_RATIO
    return bool((is_above | is_below).any())


def class_balance_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if some classes, or positive targets, are far rarer than others, without weights for them."""
    found = weighing(case)
    if found is None or found.differ:
        return
    shares, is_map = found.shares[found.shares > 0], _power(case) < 1
    are_missed = isinstance(case, Case) and (_are_missed(case) or _is_rarest_missed(case, found.shares))
    min_imbalance = MIN_IMBALANCE
    if are_missed:
        min_imbalance = MIN_MISSED_IMBALANCE if is_map or found.is_binary else MIN_CLASS_IMBALANCE
    if not len(shares) or float(shares.max()) < min_imbalance * float(shares.min()):
        return
    loss = found.balanced(_power(case))
    has_one_label = isinstance(case.train, Arrays) and case.train.y[0].numel() == 1
    root = "the root of " if is_map else ""
    # a network that finds the rare pixels may gain a little from their weight, and is no worse without it
    is_unusual = (are_missed and (found.is_binary or not is_map)) or (found.is_binary and not is_map)
    if isinstance(loss, BinaryCrossEntropy):
        settings = {"loss.pos_weight": loss.pos_weight}
        fix = f"give positive targets more weight (pos_weight of about {loss.pos_weight:.2g}, {root}the number of "
        fix += "negative targets for each of them), or "
        fix += "add a loss of overlap such as Dice" if is_map else "predict from a lower threshold"
    else:
        settings = {"loss.class_weights": list(loss.class_weights or ())}
        fix = "weight classes by the inverse of their counts, or its root, or "
        fix += (
            "use a loss of overlap, unless resizing or a threshold removed rare pixels from the masks" if is_map else ""
        )
        fix += "" if is_map else "draw all classes equally often (WeightedRandomSampler)"
    yield suspect(
        "class-imbalance", "some classes are so much more frequent than others that the loss hardly counts the others",
        fix, f"classes weighted by {root}inverse counts", lambda case: rebuilt(case, loss=loss),
        path="train", unusual=is_unusual, is_likely=are_missed, settings=settings,
        max_cost=MAX_COST if has_one_label else inf,
        most_frequent=float(shares.max()), least_frequent=float(shares.min()),
    )  # fmt: skip


def _is_rarest_missed(case: Case, shares: Tensor) -> bool:
    """Return whether a trained model misses the rarest class far more often than the most frequent one, held out."""
    held_out = None if case.class_predictions is None else case.class_predictions[1]
    if held_out is None:
        return False
    rarest = int(torch.where(shares > 0, shares, 2.0).argmin())
    recalls: list[float] = []
    for label in (rarest, int(shares.argmax())):
        is_label = held_out.examples.y == label
        if int(is_label.sum()) < MIN_HELD_OUT:
            return False
        recalls.append(float((held_out.classes[is_label] == label).double().mean()))
    return recalls[1] - recalls[0] >= MIN_LACKING_RECALL


def _are_missed(case: Case) -> bool:
    """Return whether a trained model finds few of the positive targets, or of the pixels of a class, in training."""
    if not case.trained or case.loss == float("inf"):
        return False
    predicted, y = case.train_predictions.y, case.train_predictions.examples.y
    if y.numel() == predicted.numel():
        is_found = [predicted[y.reshape(predicted.shape) > 0] > MIN_PROBABILITY]
    elif y.dim() > 1 and not y.is_floating_point() and predicted.dim() == y.dim() + 1:
        answers = predicted.argmax(1)
        is_found = [answers[y == label] == label for label in set(y.unique().tolist()) & {*range(predicted.shape[1])}]
    else:
        return False
    return min((float(found.double().mean()) for found in is_found), default=1.0) < MAX_MISSED_RECALL
