"""Settings of a training that may be the cause of its failure, each with the same training without it."""

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch

from pellucid.combine.base import replace_layer, walk
from pellucid.data import Augment
from pellucid.data.dataset import float_images
from pellucid.doctor.case import SHORT, Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import is_user_defined
from pellucid.doctor.predictions import UnansweredError, predictions
from pellucid.doctor.rehearsal import default_rate
from pellucid.doctor.remedies import begun, rebuilt, with_layers, with_rate
from pellucid.layers import BatchNorm, Dropout, Identity, LogSoftmax, Sigmoid, Softmax
from pellucid.layers.base import Layer
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.network.ending import ends
from pellucid.optim import Progress
from pellucid.optim.schedules import Constant

DEFAULT_BATCH = 32
TINY = 8  # examples of a batch, whose statistics are noise
LARGE = 1 / 20  # of the examples in one batch, or more
LONGER = 4.0  # times the training
UNMIRRORED: dict[str, Any] = {"flip": False, "vertical_flip": False}
KNOWN, HALF = 0.3, 0.6  # above chance, of a classifier's accuracy; the share of that left for mirrored images
MORE = 0.15  # of these than of plain ones: a random change that the model learned leaves plain ones as well known
LEARNED = 0.7  # of augmented training inputs, at least, that a model is right on which fails on plain ones
ALONG = 0.5  # correlation of weights with counts, which should be negative
SMOOTH, SPARSE = 0.3, 0.7  # label smoothing and dropout rate that are unusual
SHRUNK = 0.7  # of the size of the initial weights; smaller weights were shrunk by a regularizer
GONE = 0.6  # of the steps
DROPPED = 0.1  # of the highest rate: below it a schedule has ended


def regularizers(case: Case) -> Iterator[Suspect]:
    """Yield each regularizer."""
    rest = case.model.regularizers
    for index, one in enumerate(rest):
        yield suspect(
            "regularization-too-strong", "the regularizer holds the weights so small that they cannot fit the data",
            "make it weaker by powers of ten", f"without {type(one).__name__}",
            partial(rebuilt, regularizer=(*rest[:index], *rest[index + 1 :])),
            odd=case.trained and case.weight_growth < SHRUNK, regularizer=str(one),
        )  # fmt: skip


def dropout(case: Case) -> Iterator[Suspect]:
    """Yield dropout."""
    if case.dropout:
        yield suspect(
            "dropout-too-strong", "dropout removes so many values that the rest does not determine the output",
            "take a dropout rate of 0.2 to 0.5, or none", "no dropout",
            lambda case: with_layers(
                case, lambda layer: replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer, keep=True
            ),
            odd=case.dropout > SPARSE, rate=case.dropout,
        )  # fmt: skip


def frozen(case: Case) -> Iterator[Suspect]:
    """Yield the frozen tensors."""
    if case.model.frozen:
        yield suspect(
            "frozen-too-much", "frozen parameters need training on these data",
            "unfreeze it, from the last layers on", "everything learns",
            lambda case: begun(case, lambda model: model.frozen.clear()), frozen_tensors=len(case.model.frozen),
        )  # fmt: skip


def rates(case: Case) -> Iterator[Suspect]:
    """Yield learning rates of single parameters."""
    rates = case.model.rates
    if any(rate != 1 for rate in rates.values()):
        yield suspect(
            "layer-rates", "some parameters learn at a rate that does not suit them",
            "give all parameters the same learning rate", "one learning rate for all",
            lambda case: begun(case, lambda model: model.rates.clear()),
            lowest_factor=min(rates.values()), highest_factor=max(rates.values()),
        )  # fmt: skip


def augment(case: Case) -> Iterator[Suspect]:
    """Yield flipping, and the augmentation, as preprocessing that evaluation lacks if the model learned only that."""
    used = case.augment
    if used is None:
        return
    if isinstance(used, Augment) and (used.flip or used.vertical_flip):
        yield suspect(
            "augmentation-destroys", "mirrored inputs show another class, or none: left and right, or up and down, "
            "matter here", "augment without mirroring", "no mirroring",
            lambda case: replace(rebuilt(case), augment=replace(used, **UNMIRRORED)),
            odd=_mirrored_differ(case, used), flip=used.flip, vertical_flip=used.vertical_flip,
        )  # fmt: skip
    learned = case.trained and case.classifies and case.loss < float("inf")
    learned = learned and _accuracy_on_augmented(case) > max(LEARNED, case.train_predictions.accuracy + MORE)
    yield suspect(
        "preprocessing-mismatch" if learned else "augmentation-destroys",
        "the model learned inputs as the augmentation makes them, which evaluation does not do" if learned else
        "the augmentation changes the training inputs so much that they do not show what evaluation asks for",
        "prepare inputs by one function in training, validation and use" if learned else
        "look at some augmented inputs, and make the changes smaller or leave those out that change the class",
        "no augmentation", lambda case: replace(rebuilt(case), augment=None),
        augmentation=getattr(used, "__name__", type(used).__name__),
    )  # fmt: skip


def _mirrored_differ(case: Case, used: Augment) -> bool:
    """Return whether a simple classifier, which never saw mirrored images, does not recognise them."""
    if case.simple is None or case.train.x.dim() != 4:
        return False
    own, x, y = case.simple.own, case.train.x[case.simple.indices], case.simple.y
    axes = [axis for axis, on in ((3, used.flip), (2, used.vertical_flip)) if on]
    known = min(float((case.simple.predict(x.flip(axis)) == y).float().mean()) for axis in axes)
    return own.share > own.chance + KNOWN and known < own.chance + HALF * (own.share - own.chance)


def _accuracy_on_augmented(case: Case) -> float:
    part, augment = case.sample, case.augment
    if augment is None:
        return 0.0
    x = augment(float_images(part.x).clone(), torch.Generator().manual_seed(case.model.seed))
    try:
        return predictions(case.model, replace(part, x=x)).accuracy
    except UnansweredError:
        return 0.0


def clip(case: Case) -> Iterator[Suspect]:
    """Yield the clipping of gradients."""
    if case.model.clip is not None:
        yield suspect(
            "clipping-too-tight", "gradients are clipped to a norm so small that the weights hardly move",
            "raise the norm to 1 or more, or raise the learning rate", "no clipping", partial(rebuilt, clip=None),
            clip=case.model.clip,
        )  # fmt: skip


def loss_options(case: Case) -> Iterator[Suspect]:
    """Yield class weights and label smoothing."""
    loss: Any = case.model.loss
    weights = getattr(loss, "class_weights", None)
    if weights is not None:
        yield suspect(
            "class-weights", "the loss weighs the classes so that some hardly count",
            "weigh classes by the inverse of their counts, or not at all", "no class weights",
            lambda case: rebuilt(case, loss=replace(loss, class_weights=None)),
            odd=_by_frequency(case, weights), smallest_weight=float(min(weights)), largest_weight=float(max(weights)),
        )  # fmt: skip
    smoothing = getattr(loss, "label_smoothing", 0.0)
    if smoothing:
        yield suspect(
            "label-smoothing-too-strong", "labels are smoothed so much that classes hardly differ",
            "smooth by 0.1 or less", "no label smoothing",
            lambda case: rebuilt(case, loss=replace(loss, label_smoothing=0.0)),
            odd=smoothing > SMOOTH, label_smoothing=smoothing,
        )  # fmt: skip


def _by_frequency(case: Case, weights: Any) -> bool:
    """Return whether commoner classes weigh more."""
    counts = case.train.y.flatten()
    counts = counts[counts >= 0].bincount(minlength=len(weights)).double()[: len(weights)]
    both = torch.stack([counts, torch.as_tensor(weights, dtype=torch.float64)])
    return bool((both.std(1) > 0).all()) and float(both.corrcoef()[0, 1]) > ALONG


def precision(case: Case) -> Iterator[Suspect]:
    """Yield another precision than float32."""
    if case.model.precision == "bf16":
        yield suspect(
            "low-precision", f"{case.model.precision} rounds the numbers of this network too much",
            "train in float32", "float32", partial(rebuilt, precision="float32"), precision=case.model.precision,
        )  # fmt: skip


def optimizer(case: Case) -> Iterator[Suspect]:
    """Yield constants of the optimizer that are not its defaults."""
    optimizer = case.model.optimizer
    odd = {
        one.name: one.default for one in fields(optimizer)
        if one.name != "lr" and isinstance(one.default, int | float)
        and getattr(optimizer, one.name) != one.default
    }  # fmt: skip
    if odd:
        high = any(getattr(optimizer, name) > odd[name] for name in ("momentum", "beta1") if name in odd)
        yield suspect(
            "momentum-too-high" if high else "optimizer-settings",
            "steps go on in directions of long ago, and pass every minimum" if high else
            "the optimizer's constants are such that its steps do not fit this training",
            f"take {', '.join(f'{name}={value:g}' for name, value in odd.items())}",
            "the optimizer's usual constants", lambda case: rebuilt(case, optimizer=replace(optimizer, **odd)),
            **{name: getattr(optimizer, name) for name in odd},
        )  # fmt: skip


def schedule(case: Case) -> Iterator[Suspect]:
    """Yield the schedule."""
    schedule = case.model.schedule
    if isinstance(schedule, Constant):
        return
    steps = max(case.steps_planned, SHORT)
    memory = schedule.begin()
    places = [Progress(step, steps, case.steps_per_epoch) for step in range(steps)]
    factors = torch.tensor([schedule.factor(place, memory) for place in places])
    gone = float((factors < DROPPED * float(factors.max())).double().mean())
    rising = int(factors.argmax()) / steps
    early = rising < 1 - rising
    yield suspect(
        "rate-decays-too-early" if early else "warmup-too-long",
        "the schedule brings the learning rate down before the network has learned" if early else
        "the learning rate rises for so long that little of the training is left",
        "let the rate fall later and less" if early else "warm up over a few percent of the steps",
        "a constant learning rate", partial(rebuilt, schedule=Constant()), odd=gone > GONE, schedule=str(schedule),
        share_of_steps_below_a_tenth_of_the_highest_rate=gone, share_of_steps_before_the_highest_rate=rising,
    )  # fmt: skip


def tiny_batches(case: Case) -> Iterator[Suspect]:
    """Yield batch normalization over a few examples."""
    norms = any(isinstance(layer, BatchNorm) for _, layer in walk(case.model.net))
    if case.batch_size < TINY and norms and len(case.train) > DEFAULT_BATCH:
        yield suspect(
            "batch-norm-tiny-batches",
            "batch normalization takes mean and variance from so few examples that they are noise, and evaluation "
            "uses others",
            "take batches of 16 or more, or group or layer normalization", f"batches of {DEFAULT_BATCH}",
            lambda case: replace(rebuilt(case), batch_size=DEFAULT_BATCH), odd=True, batch_size=case.batch_size,
        )  # fmt: skip


def loss(case: Case) -> Iterator[Suspect]:
    """Yield another loss than the cross-entropy of classes."""
    loss, outputs = case.model.loss, case.model.output_shape
    if not case.classifies or type(loss) is SoftmaxCrossEntropy or len(outputs) != 1 or outputs[0] < 2:
        return
    yield suspect(
        "wrong-loss", "this loss does not lead to the right classes here", "take softmax_cross_entropy on plain scores",
        "softmax cross-entropy", _cross_entropy, odd=is_user_defined(loss), loss=type(loss).__name__,
    )  # fmt: skip


def _cross_entropy(case: Case) -> Case:
    net: Layer = case.model.net
    for path, last in ends(net).items():
        if isinstance(last, Softmax | LogSoftmax | Sigmoid) and path:
            net = replace_layer(net, path, lambda layer: Identity())
    return rebuilt(case, keep=True, net=net, loss=SoftmaxCrossEntropy())


def rate(case: Case) -> Iterator[Suspect]:
    """Yield the learning rate, to be lowered and raised."""
    rate, usual = case.model.optimizer.lr, default_rate(case.model.optimizer)
    factors = {0.1, 10.0}
    if 0 < usual < float("inf") and rate > 0 and not 1 / 30 < usual / rate < 30:
        factors.add(usual / rate)
    for factor in sorted(factors):
        lower = factor < 1
        yield suspect(
            "learning-rate-too-high" if lower else "learning-rate-too-low",
            "each step goes too far: it passes the minimum that it aims at" if lower else
            "each step is so small that all of them together do not lead to where the loss is low",
            f"{'lower' if lower else 'raise'} the learning rate to about {rate * factor:.2g}",
            f"{factor:.3g} times the learning rate", partial(with_rate, factor=factor), learning_rate=rate,
        )  # fmt: skip


def large_batches(case: Case) -> Iterator[Suspect]:
    """Yield batches that are a large share of all examples."""
    size, n = min(case.batch_size, len(case.train)), len(case.train)
    if size > DEFAULT_BATCH and size >= LARGE * n:
        yield suspect(
            "batch-too-large", "batches are so large that an epoch has few steps",
            f"take batches of {DEFAULT_BATCH}, or more epochs", f"batches of {DEFAULT_BATCH}, as many epochs",
            lambda case: replace(rebuilt(case), batch_size=DEFAULT_BATCH), size / DEFAULT_BATCH,
            batch_size=case.batch_size, steps_of_an_epoch=case.steps_per_epoch,
        )  # fmt: skip


def epochs(case: Case) -> Iterator[Suspect]:
    """Yield the number of steps."""
    if case.steps_planned:
        yield suspect(
            "too-few-epochs", "the training ended before the network had learned what it can",
            "train for more epochs", f"{LONGER:g} times the steps", rebuilt, LONGER,
            steps_of_the_training=case.steps_planned,
        )  # fmt: skip
