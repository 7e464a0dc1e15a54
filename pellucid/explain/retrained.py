"""Ablation with retraining: the accuracy of networks with some layers removed or resized."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.combine.base import replace_layer, walk
from pellucid.combine.nets import parameter_counts
from pellucid.data.dataset import Dataset
from pellucid.explain.ablation import default_rows
from pellucid.layers import Conv2d, Dense, Identity
from pellucid.layers.base import Layer, Params
from pellucid.nested import map_tree
from pellucid.optim import Adam
from pellucid.run.history import Row
from pellucid.training.callbacks import Callback, Training
from pellucid.training.model import BaseModel

BATCH_SIZE = 64
LEARNING_RATE = 1e-3  # learning rate of Adam


@dataclass(frozen=True)
class NetworkVariant:
    """A network to train."""

    name: str
    paths: tuple[str, ...] = ()  # of the changed layers
    factor: float = 1.0  # of the size of these layers; 0 removes them


@dataclass(frozen=True)
class RetrainingRow:
    """A row of the table: one network after its training."""

    variant: NetworkVariant
    parameters: int = 0
    train_accuracy: float | None = None
    accuracy: float | None = None  # None if the network cannot be built or trained
    error: str = ""  # the reason why not


@dataclass(frozen=True, eq=False)
class Retraining:
    """The rows, the first for the unchanged network."""

    rows: list[RetrainingRow]
    epochs: int
    images: int  # the number of training images
    weights: dict[int, Params]  # of the unchanged network by epoch, the initial ones at epoch 0


class _KeepWeights(Callback):
    """Keep the initial weights and those after each epoch."""

    def __init__(self) -> None:
        self.params_by_epoch: dict[int, Params] = {}

    def on_start(self, training: Training) -> None:
        self.params_by_epoch[0] = map_tree(torch.clone, training.model.params)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        self.params_by_epoch[training.epoch] = map_tree(torch.clone, training.model.params)


def retrain_variants(
    model: BaseModel,
    train: Dataset,
    test: Dataset,
    epochs: int,
    variants: Sequence[NetworkVariant] | None = None,
    verbose: bool = False,
) -> Retraining:
    """Train variants of a model's network from scratch, with the same settings, and return their accuracy on `test`.

    variants: trained in addition to the unchanged network, by default `default_variants`. All are trained for
    `epochs` epochs with Adam in batches of 64, with weights drawn by the model's seed, so compare them with each other,
    not with the model. A removed layer becomes an Identity; if the next layer does not fit, the row gives the reason.
    Raises PellucidError for unknown paths. Source: Zeiler and Fergus 2014, section 5.1 and table 3.
    """
    integer(epochs, "retrain_variants: epochs", 1)
    weights_callback = _KeepWeights()
    rows = list[RetrainingRow]()
    for variant in (NetworkVariant("nothing"), *(default_variants(model.net) if variants is None else variants)):
        net = changed_net(model.net, variant)
        callbacks = [] if rows else [weights_callback]
        try:
            variant_model = BaseModel(
                net, model.loss, Adam(LEARNING_RATE), input_shape=model.input_shape, classes=model.classes,
                seed=model.seed, preprocess=model.preprocess, device=str(model.device),
            )  # fmt: skip
            history = variant_model.fit(
                train, epochs=epochs, batch_size=BATCH_SIZE, callbacks=callbacks, verbose=verbose
            )
        except PellucidError as error:  # this network cannot be built or trained
            rows.append(RetrainingRow(variant, error=str(error)))
            continue
        test_accuracy = variant_model.evaluate(test)["accuracy"]
        parameters = parameter_counts(variant_model.objective.nets, variant_model.params).parameters
        rows.append(RetrainingRow(variant, parameters, history.last["train_accuracy"], test_accuracy))
    return Retraining(rows, epochs, len(train), weights_callback.params_by_epoch)


def default_variants(net: Layer) -> list[NetworkVariant]:
    """Return the default variants: the removals of `default_rows`, and half and twice as many filters or units.

    The last layer with weights keeps its size, the number of classes.
    """
    layers = dict(walk(net))
    removals = [tuple(removal.path for removal in row) for row in default_rows(net)]
    variants = [NetworkVariant(", ".join(paths), paths, 0.0) for paths in removals]
    single_paths = [paths[0] for paths in removals if len(paths) == 1]
    for kind, name in ((Conv2d, "filters of the convolutions"), (Dense, "units of the dense layers")):
        paths = tuple(path for path in single_paths if isinstance(layers[path], kind))
        if paths:
            variants += [
                NetworkVariant(f"half of the {name}", paths, 0.5),
                NetworkVariant(f"twice the {name}", paths, 2.0),
            ]
    return variants


def changed_net(net: Layer, variant: NetworkVariant) -> Layer:
    """Return the network with the variant's layers removed, or their number of outputs multiplied by its factor."""
    for path in variant.paths:
        net = replace_layer(net, path, lambda layer: _resize_layer(layer, variant.factor))
    return net


def _resize_layer(layer: Layer, factor: float) -> Layer:
    if factor == 0:
        return Identity()
    if isinstance(layer, Conv2d):
        return replace(layer, filters=max(1, round(layer.filters * factor)))
    if isinstance(layer, Dense):
        return replace(layer, units=max(1, round(layer.units * factor)))
    raise PellucidError(f"the size of a {type(layer).__name__} cannot be changed; give a Conv2d or a Dense layer")
