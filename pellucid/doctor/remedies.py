"""Functions that return a changed case, for remedies, and a case with a small reference network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.combine.base import map_layers, replace_layer
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Remedy
from pellucid.doctor.inputs import select
from pellucid.doctor.rehearsal import reinitialized
from pellucid.doctor.training_case import T, TrainingCase, optional_fields
from pellucid.layers import LSTM, BatchNorm, Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.nested import flatten, shared_paths
from pellucid.operators import AffineMap, OneHot, Select
from pellucid.optim import Adam
from pellucid.optim.schedules import Cosine
from pellucid.training.model import BaseModel

# Settings of `small_network`.
MIN_SIDE = 8  # pixels; smaller images are flattened instead of convolved
MAX_SIDE = 64  # pixels; larger sides are reduced by the stride of the first convolution
LEARNING_RATE, BATCH_SIZE = 2e-3, 32
MAX_INDICES = 2_000  # different indices, of which each is a column
MIN_TARGET_STD = 1e-12  # by which targets are divided if they are constant


def rebuilt(case: T, keep_weights: bool = False, **changes: Any) -> T:
    """Return the case with changed arguments of `Model` (net, optimizer, regularizer, ...) and an untrained model.

    changes: see `reinitialized`. The initial weights are the same unless `changes` contain a network, whose weights are
    newly drawn. keep_weights: whether that network receives the initial weights with the same path and shape. The model
    of the new case is in its state before the first step, and the case has no history. Raises PellucidError for layers
    that do not fit together.
    """

    def begin() -> BaseModel:
        old = case.begin()
        try:
            new = reinitialized(old, **changes)
        except (RuntimeError, TypeError, ValueError) as error:  # of PyTorch, and of layers of one's own
            raise PellucidError(f"doctor: the layers of the changed network do not fit: {error}") from error
        if keep_weights or not {"net", "nets"} & {*changes}:
            old_weights, new_weights = flatten(old.params), flatten(new.params)
            for path in shared_paths(old.params, new.params):
                new_weights[path].copy_(old_weights[path])
        return new

    values = {"model": begin(), "begin": begin, "history": None, "stopped": "", "steps": 0}
    optional = optional_fields(case)
    if optional.history is not None:
        values["epochs"] = optional.epochs or len(optional.history)
    return with_values(case, values)


def with_values(case: T, values: Mapping[str, Any]) -> T:
    """Return the case with new values of its fields; names for which the case has no field are ignored."""
    field_names = {field.name for field in fields(case)}
    return replace(case, **{name: value for name, value in values.items() if name in field_names})


def with_trained(case: T, model: BaseModel) -> T:
    """Return the case with a model that was trained on it."""
    return with_values(case, {"model": model, "history": None, "stopped": ""})


def with_initial_model(case: T, alter: Callable[[BaseModel], object]) -> T:
    """Return the case with `alter` applied to the model before its first step."""
    new = rebuilt(case)

    def begin() -> BaseModel:
        model = new.begin()
        model.frozen, model.rates = set(model.frozen), dict(model.rates)
        alter(model)
        return model

    return replace(new, model=begin(), begin=begin)


def without_frozen(case: T) -> T:
    """Return the case with no frozen parameters."""
    return with_initial_model(case, lambda model: model.frozen.clear())


def with_layers(case: Case, change: Callable[[Layer], Layer], keep_weights: bool = False) -> Case:
    """Return the case with each layer replaced by `change(layer)`, and newly drawn weights unless `keep_weights`."""
    return rebuilt(case, keep_weights, net=map_layers(case.model.net, change))


def with_replaced_layers(
    nets: Mapping[str, Layer], locations: Iterable[tuple[str, str]], change: Callable[[Layer], Layer]
) -> dict[str, Layer]:
    """Return the networks with the layer at each of `locations` replaced by `change(layer)`.

    locations: pairs of the name of a network and the path of a layer in it.
    """
    changed = dict(nets)
    for name, path in locations:
        changed[name] = replace_layer(changed[name], path, change)
    return changed


def with_layers_at(case: Case, paths: Iterable[str], change: Callable[[Layer], Layer], **changes: Any) -> Case:
    """Return the case with the layers at `paths` replaced by `change(layer)`; changes: see `rebuilt`."""
    locations = [("", path) for path in paths]
    return rebuilt(case, nets=with_replaced_layers(case.model.objective.nets, locations, change), **changes)


def he_initialized(layer: Layer) -> Layer:
    """Return a layer with weights and biases of its own, drawn by He initialization and 0; other layers are unchanged.

    He et al. 2015, section 2.2.
    """
    has_both = {"init_weight", "init_bias"} <= vars(layer).keys()  # as Dense, convolutions and layers of a user
    return replace(layer, init_weight="he", init_bias="zeros") if has_both else layer


DRAWN_AS_HE = Remedy(
    "weights redrawn by He initialization", lambda case: with_layers(case, he_initialized), "he-weights"
)
HE_SETTINGS = {"network.init_weight": "he", "network.init_bias": "zeros"}


def with_parts(case: Case, change: Callable[[Arrays], Arrays]) -> Case:
    """Return the case with its training and validation data changed, and an untrained model."""
    validation = None if case.validation is None else change(case.validation)
    return rebuilt(replace(case, train=change(case.train), validation=validation))


def with_examples(case: Case, index: Tensor) -> Case:
    """Return the case with a subset of its training examples and an untrained model.

    index: the indices of the examples, or a mask (N,).
    """
    return rebuilt(replace(case, train=select(case.train, index)))


def with_standardised_targets(case: Case) -> Case:
    """Return the case with targets standardized by the mean and standard deviation of the training targets."""
    y = case.train.y.double()
    mean, std = y.mean(0, keepdim=True), y.std(0, correction=0, keepdim=True).clamp_min(MIN_TARGET_STD)
    train, validation = (
        data and replace(data, y=((data.y - mean) / std).float()) for data in (case.train, case.validation)
    )  # fmt: skip
    return replace(case, train=train, validation=validation)


def small_network(case: Case) -> Case:
    """Return the case with a small network instead of its own, as a baseline that trains well without tuning.

    Inputs are batch-normalized, and the targets of a regression are standardized. The optimizer is Adam with a learning
    rate that falls to 0.
    """
    if not case.classifies:
        case = with_standardised_targets(case)
    shape = tuple(case.train.x.shape[1:])
    loss: Any = SoftmaxCrossEntropy() if case.classifies else Quadratic()
    net = Sequential(*hidden_layers(shape, count_of_indices(case)), Dense(_n_outputs(case)))

    def begin() -> BaseModel:
        return BaseModel(
            net, loss, Adam(LEARNING_RATE), metrics=(), schedule=Cosine(), seed=case.model.seed, input_shape=shape
        )  # fmt: skip

    return replace(
        case, model=begin(), begin=begin, batch_size=min(BATCH_SIZE, len(case.train)), epochs=0, history=None,
        stopped="", augment=None, steps=0, trainable=True,
    )  # fmt: skip


def _n_outputs(case: Case) -> int:
    if not case.classifies:
        return max(case.train.y[0].numel(), 1)
    return max(int(case.train.y.max()) + 1, *(out for out in case.model.output_shape[:1] if isinstance(out, int)), 2)


def count_of_indices(case: TrainingCase) -> int:
    """Return the number of different indices of inputs that are indices, such as tokens; 0 for other inputs.

    And 0 for float64, which `hidden_layers` does not make of indices.
    """
    model = case.model
    if not isinstance(case.train, Arrays) or model.index_inputs != (True,) or model.precision == "float64":
        return 0
    parts = [data.x for data in (case.train, case.validation) if isinstance(data, Arrays)]
    count = 1 + int(max(x.max() for x in parts))
    return count if count <= MAX_INDICES and min(x.min() for x in parts) >= 0 else 0


def hidden_layers(shape: tuple[int, ...], n_indices: int = 0) -> list[Layer]:
    """Return the layers of the small network before its output, for inputs of a shape (without the batch axis).

    n_indices: see `count_of_indices`. Indices have no order, so each is a column of its own, read along the sequence.
    """
    if n_indices and len(shape) == 1:
        return [OneHot(n_indices), AffineMap(), LSTM(32), Select(1, -1)]  # AffineMap makes floats of whole numbers
    if len(shape) != 3 or min(shape[1:]) < MIN_SIDE:
        return [Flatten(), BatchNorm(), Dense(64), ReLU(), Dense(64), ReLU()]
    stride = max(min(shape[1:]) // MAX_SIDE, 1)
    layers: list[Layer] = [BatchNorm()]
    for filters, step in ((16, stride), (32, 1)):
        layers += [Conv2d(filters, 3, stride=step, padding=1), BatchNorm(), ReLU(), MaxPool2d(2)]
    return [*layers, Flatten()]
