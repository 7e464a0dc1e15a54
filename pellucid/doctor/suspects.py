"""What may be the cause of a training that fails: each setting that could be, with the same training without it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from typing import Any

import torch

from pellucid.combine import Sequential
from pellucid.combine.base import replace_layer, walk
from pellucid.data.dataset import float_images
from pellucid.doctor.case import SHORT, Case
from pellucid.doctor.changed import as_he, with_layers
from pellucid.doctor.finding import Finding, Number, Remedy, UnansweredError
from pellucid.doctor.measure.answers import answers
from pellucid.doctor.measure.learners import finals, learners
from pellucid.doctor.measure.usual import usual
from pellucid.doctor.mending import rebuilt, with_rate
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Identity, LogSoftmax, ReLU, Sigmoid, Softmax
from pellucid.layers.base import Layer
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.optim import Progress
from pellucid.optim.schedules import Constant
from pellucid.rules.kinds import ACTIVATIONS
from pellucid.train.ending import ends
from pellucid.train.model import Model
from pellucid.tree import flatten

SETTINGS = ("unnormalised-inputs", "batch-norm", "update-ratio")  # checks whose remedies change one particular thing
USUAL_BATCH = 32
TINY = 8  # examples of a batch, whose statistics are noise
LARGE = 1 / 20  # of the examples in one batch, or more
LONGER = 4.0  # times the training
NARROW = 16  # units of a layer, fewer than which may be too few
WIDE = 64  # units that are tried instead
DEEP = 4  # layers that learn, from which on a network is tried with batch normalization
HE = 3.0  # times the size of weights as He 2015 draws them, or its inverse
FAR = 1.0  # from 0, root mean square of a layer's first biases
LEARNED = 0.7  # of augmented training inputs, at least, that a model is right on which fails on plain ones
DROPPED = 0.1  # of the highest rate: below it a schedule has ended


@dataclass(frozen=True, eq=False)
class Suspect:
    """One thing that may be the cause.

    finding: what is said if a trial establishes it; its remedy is the case without it. general: whether it helps many
    trainings, whatever their fault is (another rate, more epochs, a larger network): it is the cause only where nothing
    particular is. longer: how many times the steps the remedy takes, for the same examples or more epochs.
    """

    finding: Finding
    general: bool = False
    longer: float = 1.0

    @property
    def remedy(self) -> Remedy:
        """The remedy of the finding, which every suspect has."""
        assert self.finding.remedy is not None
        return self.finding.remedy

    def apply(self, case: Case) -> Case:
        """Return the case without the suspect."""
        return self.remedy.apply(case)


def suspects(case: Case, found: Sequence[Finding] = ()) -> list[Suspect]:
    """Return every setting of the training that could be its fault: particular ones before general ones.

    found: findings of checks, whose remedies are suspects too.
    """
    particular = [one for ask in PARTICULAR for one in ask(case)]
    general = [replace(one, general=True) for ask in GENERAL for one in ask(case)]
    return [*particular, *(Suspect(one, one.check not in SETTINGS) for one in found), *general]


def _suspect(
    name: str, cause: str, fix: str, does: str, apply: Callable[[Case], Case], longer: float = 1.0,
    path: str = "training", **evidence: Number,
) -> Suspect:  # fmt: skip
    return Suspect(Finding(name, path, evidence, cause, fix, Remedy(does, apply)), longer=longer)


def _regularizers(case: Case) -> Iterator[Suspect]:
    rest = case.model.regularizers
    for place, one in enumerate(rest):
        others = (*rest[:place], *rest[place + 1 :])
        yield _suspect(
            "regularization-too-strong", "the regularizer holds the weights so small that they cannot fit the data",
            "make it weaker by powers of ten", f"without {type(one).__name__}",
            partial(rebuilt, regularizer=others), regularizer=str(one),
        )  # fmt: skip


def _dropout(case: Case) -> Iterator[Suspect]:
    if case.dropout:
        yield _suspect(
            "dropout-too-strong", "dropout removes so many values that the rest does not tell what the input was",
            "take a dropout rate of 0.2 to 0.5, or none", "no dropout", _without_dropout, rate=case.dropout,
        )  # fmt: skip


def _without_dropout(case: Case) -> Case:
    def change(layer: Layer) -> Layer:
        return replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer

    return with_layers(case, change, keep=True)


def _frozen(case: Case) -> Iterator[Suspect]:
    if case.model.frozen:
        yield _suspect(
            "frozen-too-much", "what is frozen would have to learn: its values do not suit these data",
            "unfreeze it, from the last layers on", "everything learns", _thawed,
            frozen_tensors=len(case.model.frozen),
        )  # fmt: skip


def _thawed(case: Case) -> Case:
    return _begun(case, lambda model: model.frozen.clear())


def _begun(case: Case, alter: Callable[[Model], object]) -> Case:
    """Return the case whose model is altered before its first step."""
    mended = rebuilt(case)

    def begin() -> Model:
        model = mended.begin()
        model.frozen, model.rates = set(model.frozen), dict(model.rates)
        alter(model)
        return model

    return replace(mended, model=begin(), begin=begin)


def _rates(case: Case) -> Iterator[Suspect]:
    rates = case.model.rates
    if any(rate != 1 for rate in rates.values()):
        yield _suspect(
            "layer-rates", "some parameters learn at a rate that does not suit them",
            "give all parameters the same learning rate", "one learning rate for all",
            lambda case: _begun(case, lambda model: model.rates.clear()),
            lowest_factor=min(rates.values()), highest_factor=max(rates.values()),
        )  # fmt: skip


def _augment(case: Case) -> Iterator[Suspect]:
    if case.augment is None:
        return
    learned = case.trained and case.classifies and _on_augmented(case) > LEARNED
    yield _suspect(
        "preprocessing-mismatch" if learned else "augmentation-destroys",
        "the model learned inputs as the augmentation makes them, which evaluation does not do" if learned else
        "the augmentation changes the training inputs so much that they do not show what evaluation asks for",
        "prepare inputs by one function in training, validation and use" if learned else
        "look at some augmented inputs, and make the changes smaller", "no augmentation",
        lambda case: replace(rebuilt(case), augment=None), augmentation=_kind(case.augment),
    )  # fmt: skip


def _on_augmented(case: Case) -> float:
    """Return the accuracy on training examples as the augmentation makes them."""
    part, augment = case.sample, case.augment
    if augment is None:
        return 0.0
    x = augment(float_images(part.x).clone(), torch.Generator().manual_seed(case.model.seed))
    try:
        return answers(case.model, replace(part, x=x)).accuracy
    except UnansweredError:
        return 0.0


def _kind(augment: object) -> str:
    return getattr(augment, "__name__", type(augment).__name__)


def _clip(case: Case) -> Iterator[Suspect]:
    if case.model.clip is not None:
        yield _suspect(
            "clipping-too-tight", "gradients are clipped to a norm so small that the weights hardly move",
            "raise the norm to 1 or more, or raise the learning rate", "no clipping", partial(rebuilt, clip=None),
            clip=case.model.clip,
        )  # fmt: skip


def _loss_options(case: Case) -> Iterator[Suspect]:
    loss: Any = case.model.loss
    weights = getattr(loss, "class_weights", None)
    if weights is not None:
        yield _suspect(
            "class-weights", "the loss weighs the classes so that some hardly count",
            "weigh classes by the inverse of their counts, or not at all", "no class weights",
            lambda case: rebuilt(case, loss=replace(loss, class_weights=None)),
            smallest_weight=float(min(weights)), largest_weight=float(max(weights)),
        )  # fmt: skip
    smoothing = getattr(loss, "label_smoothing", 0.0)
    if smoothing:
        yield _suspect(
            "label-smoothing-too-strong", "labels are smoothed so much that classes hardly differ",
            "smooth by 0.1 or less", "no label smoothing",
            lambda case: rebuilt(case, loss=replace(loss, label_smoothing=0.0)), label_smoothing=smoothing,
        )  # fmt: skip


def _precision(case: Case) -> Iterator[Suspect]:
    if case.model.precision != "float32":
        yield _suspect(
            "low-precision", f"{case.model.precision} rounds the numbers of this network too much",
            "train in float32", "float32", partial(rebuilt, precision="float32"), precision=case.model.precision,
        )  # fmt: skip


def _optimizer(case: Case) -> Iterator[Suspect]:
    optimizer = case.model.optimizer
    defaults = {
        one.name: one.default for one in fields(optimizer)
        if one.name != "lr" and isinstance(one.default, int | float) and one.default is not MISSING
    }  # fmt: skip
    odd = {name: value for name, value in defaults.items() if getattr(optimizer, name) != value}
    if odd:
        high = any(getattr(optimizer, name) > odd[name] for name in ("momentum", "beta1") if name in odd)
        yield _suspect(
            "momentum-too-high" if high else "optimizer-settings",
            "steps go on in directions of long ago, and pass every minimum" if high else
            "the optimizer's constants are such that its steps do not fit this training",
            f"take {', '.join(f'{name}={value:g}' for name, value in odd.items())}",
            "the optimizer's usual constants", lambda case: rebuilt(case, optimizer=replace(optimizer, **odd)),
            **{name: getattr(optimizer, name) for name in odd},
        )  # fmt: skip


def _schedule(case: Case) -> Iterator[Suspect]:
    schedule = case.model.schedule
    if isinstance(schedule, Constant):
        return
    epoch = case.steps_per_epoch
    steps = max(case.steps_planned, SHORT)
    memory = schedule.begin()
    factors = torch.tensor([schedule.factor(Progress(step, steps, epoch), memory) for step in range(steps)])
    most = float(factors.max())
    gone = float((factors < DROPPED * most).double().mean())
    rising = int(factors.argmax()) / steps
    early = rising < 1 - rising
    yield _suspect(
        "rate-decays-too-early" if early else "warmup-too-long",
        "the schedule brings the learning rate down before the network has learned" if early else
        "the learning rate rises for so long that little of the training is left",
        "let the rate fall later and less" if early else "warm up over a few percent of the steps",
        "a constant learning rate", partial(rebuilt, schedule=Constant()), schedule=str(schedule),
        share_of_steps_below_a_tenth_of_the_highest_rate=gone, share_of_steps_before_the_highest_rate=rising,
    )  # fmt: skip


def _tiny_batches(case: Case) -> Iterator[Suspect]:
    norms = any(isinstance(layer, BatchNorm) for _, layer in walk(case.model.net))
    if case.batch_size < TINY and norms and len(case.train) > USUAL_BATCH:
        yield _suspect(
            "batch-norm-tiny-batches",
            "batch normalization takes mean and variance from so few examples that they are noise, and evaluation "
            "uses others",
            "take batches of 16 or more, or group or layer normalization", f"batches of {USUAL_BATCH}",
            lambda case: replace(rebuilt(case), batch_size=USUAL_BATCH), batch_size=case.batch_size,
        )  # fmt: skip


def _loss(case: Case) -> Iterator[Suspect]:
    loss, outputs = case.model.loss, case.model.output_shape
    if not case.classifies or type(loss) is SoftmaxCrossEntropy or len(outputs) != 1 or outputs[0] < 2:
        return
    yield _suspect(
        "wrong-loss", "this loss does not lead to the right classes here", "take softmax_cross_entropy on plain scores",
        "softmax cross-entropy", _cross_entropy, loss=type(loss).__name__,
    )  # fmt: skip


def _cross_entropy(case: Case) -> Case:
    net = case.model.net
    for path, last in ends(net).items():
        if isinstance(last, Softmax | LogSoftmax | Sigmoid) and path:
            net = replace_layer(net, path, lambda layer: Identity())
    return rebuilt(case, keep=True, net=net, loss=SoftmaxCrossEntropy())


def _initialization(case: Case) -> Iterator[Suspect]:
    flat = flatten(case.first.params)
    sizes: dict[str, float] = {}
    bias = 0.0
    for path, weight in learners(case.first):
        value = flat[weight]
        fan = value[0].numel()
        sizes[path] = float(value.square().mean().sqrt()) / (2 / fan) ** 0.5
        if f"{path}.bias" in flat:
            bias = max(bias, float(flat[f"{path}.bias"].square().mean().sqrt()))
    odd = [size for size in list(sizes.values())[:-1] if not 1 / HE <= size <= HE]
    if sizes and (odd or list(sizes.values())[-1] > HE or bias > FAR):
        yield _suspect(
            "bad-initialization", "the first weights or biases are of a size from which the network does not learn",
            "draw weights as He 2015 and begin with biases of 0", "weights drawn anew as He 2015",
            partial(with_layers, change=as_he), smallest_weights_over_he=min(sizes.values()),
            largest_weights_over_he=max(sizes.values()), largest_first_biases=bias,
        )  # fmt: skip


def _inner(case: Case) -> list[str]:
    last = finals(case.model, case.inputs(case.probe))
    known = dict(walk(case.model.net))
    return [path for path, _ in learners(case.first) if path not in last and isinstance(known[path], Dense | Conv2d)]


def _changed(case: Case, paths: Sequence[str], change: Callable[[Layer], Layer]) -> Case:
    net = case.model.net
    for path in paths:
        net = replace_layer(net, path, change)
    return rebuilt(case, net=net)


def _linear(case: Case) -> Iterator[Suspect]:
    inner = _inner(case)
    if inner and not any(isinstance(layer, ACTIVATIONS) or _own(layer) for _, layer in walk(case.model.net)):
        yield _suspect(
            "no-activation", "no activation stands between the layers, so that all of them are one linear map",
            "put a ReLU behind each layer but the last", "ReLU behind each inner layer",
            lambda case: _changed(case, inner, lambda layer: Sequential(layer, ReLU())), layers=len(inner) + 1,
        )  # fmt: skip


def _own(layer: Layer) -> bool:
    """Whether a layer is none of the library's."""
    return not type(layer).__module__.startswith("pellucid.")


def _rate(case: Case) -> Iterator[Suspect]:
    rate, known = case.model.optimizer.lr, usual(case.model.optimizer)
    factors = {0.1, 10.0}
    if 0 < known < float("inf") and rate > 0 and not 1 / 30 < known / rate < 30:
        factors.add(known / rate)
    for factor in sorted(factors):
        lower = factor < 1
        yield _suspect(
            "learning-rate-too-high" if lower else "learning-rate-too-low",
            "each step goes too far: it passes the minimum that it aims at" if lower else
            "each step is so small that all of them together do not lead to where the loss is low",
            f"{'lower' if lower else 'raise'} the learning rate to about {rate * factor:.2g}",
            f"{factor:.3g} times the learning rate", partial(with_rate, factor=factor), learning_rate=rate,
        )  # fmt: skip


def _large_batches(case: Case) -> Iterator[Suspect]:
    size, n = min(case.batch_size, len(case.train)), len(case.train)
    if size > USUAL_BATCH and size >= LARGE * n:
        yield _suspect(
            "batch-too-large", "batches are so large that an epoch has few steps",
            f"take batches of {USUAL_BATCH}, or more epochs", f"batches of {USUAL_BATCH}, as many epochs",
            lambda case: replace(rebuilt(case), batch_size=USUAL_BATCH), size / USUAL_BATCH,
            batch_size=case.batch_size, steps_of_an_epoch=case.steps_per_epoch,
        )  # fmt: skip


def _epochs(case: Case) -> Iterator[Suspect]:
    if case.steps_planned:
        yield _suspect(
            "too-few-epochs", "the training ended before the network had learned what it can",
            "train for more epochs", f"{LONGER:g} times the steps", rebuilt, LONGER,
            steps_of_the_training=case.steps_planned,
        )  # fmt: skip


def _size(case: Case) -> Iterator[Suspect]:
    if any(_initialization(case)):
        return  # another network draws its own weights, which might be all that helps
    known = dict(walk(case.model.net))
    narrow = [path for path in _inner(case) if _units(known[path]) < NARROW]
    if narrow:
        yield _suspect(
            "network-too-small", "a layer is too narrow for what the network is to tell apart",
            "give it more units", f"{WIDE} units in each layer of fewer than {NARROW}",
            lambda case: _changed(case, narrow, _wider),
            units_of_the_narrowest_layer=min(_units(known[path]) for path in narrow),
        )  # fmt: skip


def _units(layer: Layer) -> int:
    return layer.units if isinstance(layer, Dense) else layer.filters if isinstance(layer, Conv2d) else 0


def _wider(layer: Layer) -> Layer:
    return replace(layer, units=WIDE) if isinstance(layer, Dense) else replace(layer, filters=WIDE)  # pyright: ignore


def _depth(case: Case) -> Iterator[Suspect]:
    inner, norms = _inner(case), any(isinstance(layer, BatchNorm) for _, layer in walk(case.model.net))
    if len(inner) >= DEEP and not norms and not any(_initialization(case)):
        yield _suspect(
            "network-too-deep", "so many layers in a row hand on too little of what comes in, and of the gradient",
            "take fewer layers, batch normalization between them, or residual blocks",
            "batch normalization behind each inner layer",
            lambda case: _changed(case, inner, lambda layer: Sequential(layer, BatchNorm())), layers=len(inner) + 1,
        )  # fmt: skip


Ask = Callable[[Case], Iterator[Suspect]]
PARTICULAR: tuple[Ask, ...] = (
    _regularizers, _frozen, _rates, _clip, _augment, _loss_options, _precision, _optimizer, _schedule, _tiny_batches,
    _dropout, _linear, _initialization, _loss,
)  # fmt: skip
GENERAL: tuple[Ask, ...] = (_rate, _large_batches, _epochs, _size, _depth)
