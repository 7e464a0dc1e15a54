"""Functions that inject faults into trainings, shared by the modules of faults."""

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

# Settings that faults are injected into, and why they are not injected into the others.
DENSE_ONLY = (
    ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu", "signs-norm"),
    "the fault brings a network without convolutions, which would only repeat a case on the same data",
)


@dataclass(frozen=True, eq=False)
class ModifiedStart(Setting):
    """A setting whose model is changed by `modify` before the first step."""

    modify: ModifyModel = lambda model: None

    def build(self, train: Dataset) -> Model:
        """Return the changed model before its first step."""
        model = super().build(train)
        self.modify(model)
        return model


def modify_start(modify: ModifyModel, **changes: Any) -> Make:
    """Return a function that trains a model changed by `modify` before its first step."""
    return lambda setting: ModifiedStart(**vars(setting.replace(**changes)), modify=modify).train()


def alter_trained(modify: ModifyModel) -> Make:
    """Return a function that trains, and changes the model afterwards."""

    def make(setting: Setting) -> Case:
        case = setting.train()
        modify(case.model)
        return case

    return make


def train_with(**changes: Any) -> Make:
    """Return a function that trains with some fields of the setting changed."""
    return lambda setting: setting.replace(**changes).train()


def scale_rate(factor: float) -> Make:
    """Return a function that trains with the learning rate multiplied by `factor`."""

    def make(setting: Setting) -> Case:
        return setting.replace(optimizer=replace(setting.optimizer, lr=setting.optimizer.lr * factor)).train()

    return make


def replace_layers(setting: Setting, change: Callable[[Layer], Layer]) -> Setting:
    """Return the setting with each layer of its network replaced by `change(layer)`."""
    return setting.replace(net=lambda classes: map_layers(setting.net(classes), change))


def layers_of(net: Layer) -> list[Layer]:
    """Return the layers of a Sequential."""
    assert isinstance(net, Sequential)
    return list(net.layers.values())


def trainable_tensors(model: Model, name: str = "weight") -> list[Tensor]:
    """Return the parameter `name` of each trainable layer, from the first to the last."""
    return [model.weights[f"{path}.{name}"] for path, _ in trainable_layers(model)]
