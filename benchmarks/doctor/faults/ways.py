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
Touch = Callable[[Model], None]

# Settings that faults are put into, and why not into the others.
DENSE = (
    ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu", "signs-norm"),
    "the fault brings a network without convolutions, which would only repeat a case on the same data",
)
NORMED = ("digits-conv", "mnist-norm", "signs-norm"), "the others do not normalise"


@dataclass(frozen=True, eq=False)
class Begun(Setting):
    """A setting whose model is changed before its first step."""

    touch: Touch = lambda model: None

    def build(self, train: Dataset) -> Model:
        """Return the model before its first step."""
        model = super().build(train)
        self.touch(model)
        return model


def begun(touch: Touch, **changes: Any) -> Make:
    """Train a model that is changed before its first step."""
    return lambda setting: Begun(**vars(setting.but(**changes)), touch=touch).train()


def damaged(touch: Touch) -> Make:
    """Train, and change the model afterwards."""

    def make(setting: Setting) -> Case:
        case = setting.train()
        touch(case.model)
        return case

    return make


def taught(**changes: Any) -> Make:
    """Train with other values of the setting."""
    return lambda setting: setting.but(**changes).train()


def rate(factor: float) -> Make:
    """Train at a learning rate times `factor`."""

    def make(setting: Setting) -> Case:
        return setting.but(optimizer=replace(setting.optimizer, lr=setting.optimizer.lr * factor)).train()

    return make


def exchanged(setting: Setting, change: Callable[[Layer], Layer]) -> Setting:
    """Return the setting with `change` of each layer of its network."""
    return setting.but(net=lambda classes: map_layers(setting.net(classes), change))


def parts(net: Layer) -> list[Layer]:
    """Return the layers of a Sequential."""
    assert isinstance(net, Sequential)
    return list(net.layers.values())


def learned(model: Model, name: str = "weight") -> list[Tensor]:
    """Return what the layers that learn hold under a name, from the first to the last."""
    return [model.weights[f"{path}.{name}"] for path, _ in trainable_layers(model)]
