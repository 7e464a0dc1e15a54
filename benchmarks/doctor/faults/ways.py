"""How a training is broken: what several faults share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from benchmarks.doctor.settings import Setting
from pellucid.combine import Sequential
from pellucid.combine.base import map_layers
from pellucid.data import Dataset
from pellucid.doctor import Case
from pellucid.doctor.passes import trainable_layers
from pellucid.layers.base import Layer
from pellucid.model import Model

Make = Callable[[Setting], Case]
ModifyModel = Callable[[Model], None]

# Settings that faults are put into, and why not into the others.
DENSE_ONLY = (
    ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu", "signs-norm"),
    "the fault brings a network without convolutions, which would only repeat a case on the same data",
)
NORM_ONLY = ("digits-conv", "mnist-norm", "signs-norm"), "the others do not normalise"


@dataclass(frozen=True, eq=False)
class ModifiedStart(Setting):
    """A setting whose model is changed before its first step."""

    modify: ModifyModel = lambda model: None

    def build(self, train: Dataset) -> Model:
        """Return the model before its first step."""
        model = super().build(train)
        self.modify(model)
        return model


def modify_start(modify: ModifyModel, **changes: Any) -> Make:
    """Train a model that is changed before its first step."""
    return lambda setting: ModifiedStart(**vars(setting.replace(**changes)), modify=modify).train()


def alter_trained(modify: ModifyModel) -> Make:
    """Train, and change the model afterwards."""

    def make(setting: Setting) -> Case:
        case = setting.train()
        modify(case.model)
        return case

    return make


def train_with(**changes: Any) -> Make:
    """Train with other values of the setting."""
    return lambda setting: setting.replace(**changes).train()


def scale_rate(factor: float) -> Make:
    """Train at a learning rate times `factor`."""

    def make(setting: Setting) -> Case:
        return setting.replace(optimizer=replace(setting.optimizer, lr=setting.optimizer.lr * factor)).train()

    return make


def replace_layers(setting: Setting, change: Callable[[Layer], Layer]) -> Setting:
    """Return the setting with `change` of each layer of its network."""
    return setting.replace(net=lambda classes: map_layers(setting.net(classes), change))


def layers_of(net: Layer) -> list[Layer]:
    """Return the layers of a Sequential."""
    assert isinstance(net, Sequential)
    return list(net.layers.values())


def trainable_tensors(model: Model, name: str = "weight") -> list[Tensor]:
    """Return what the layers that learn hold under a name, from the first to the last."""
    return [model.weights[f"{path}.{name}"] for path, _ in trainable_layers(model)]
