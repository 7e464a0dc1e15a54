"""Averages of the weights: the exponential moving average, and the mean of the initial and the trained weights."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from torch import Tensor

from pellucid.optim import foreach, pack, unpack
from pellucid.optim.base import State

WeightAverage = float | Literal["start"]  # the decay of a `MovingAverage`, or "start" for a `StartAverage`
AVERAGE_PREFIX = "[average]."  # prefix of names in a checkpoint; no path of a weight contains "[", so all names differ


class Average(ABC):
    """An average of the weights, which replaces them in evaluations and at the end of a training.

    paths, weights: the learned parameters, in the same order.
    """

    def __init__(self, paths: Sequence[str], weights: Sequence[Tensor]) -> None:
        self.paths = [*paths]
        self.weights = [*weights]
        self.averages = [weight.clone() for weight in weights]
        self.state: State = {"weights": self.averages, "updates": 0}

    @abstractmethod
    def update(self) -> None:
        """Update the average; call it after each update of the weights."""

    @abstractmethod
    def replace_weights(self) -> None:
        """Replace the weights by their averages permanently."""

    @contextmanager
    def replacing_weights(self) -> Generator[None, None, None]:
        """Replace the weights by their averages within the context; afterwards restore them."""
        trained_weights = [weight.clone() for weight in self.weights]
        self.replace_weights()
        try:
            yield
        finally:
            foreach.copy_(self.weights, trained_weights)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages and the number of updates, as tensors by name."""
        return {AVERAGE_PREFIX + name: tensor for name, tensor in pack(self.state, self.paths).items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state that `state_dict` returned; other names in `state` are ignored."""
        average_state = {name: tensor for name, tensor in state.items() if name.startswith(AVERAGE_PREFIX)}
        unpack(
            self.state,
            self.paths,
            {name.removeprefix(AVERAGE_PREFIX): tensor for name, tensor in average_state.items()},
        )


class MovingAverage(Average):
    """The exponential moving average a of the weights w over the updates: a ← d a + (1 - d) w.

    d is the smaller of `decay` and (1 + n) / (10 + n) in the n-th update, which quickly reduces the share of the
    initial weights.
    Source: Polyak and Juditsky 1992; TensorFlow's ExponentialMovingAverage for the bound (its num_updates).
    """

    def __init__(self, paths: Sequence[str], weights: Sequence[Tensor], decay: float) -> None:
        super().__init__(paths, weights)
        self.decay = decay

    def update(self) -> None:
        """Update the average."""
        update_count = int(self.state["updates"]) + 1  # pyright: ignore[reportArgumentType]
        self.state["updates"] = update_count
        foreach.lerp_(self.averages, self.weights, 1 - min(self.decay, (1 + update_count) / (10 + update_count)))

    def replace_weights(self) -> None:
        """Replace the weights by their averages."""
        foreach.copy_(self.weights, self.averages)


class StartAverage(Average):
    """The mean of the initial weights, which the state keeps, and the current weights.

    For the fine-tuning of a model that is good at its start: a short training, or one on few examples, may be worse
    than its start, and seldom is their mean.
    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", with the share 1/2 that they recommend
    without validation data.
    """

    def update(self) -> None:
        """Do nothing, since the initial weights do not change."""

    def replace_weights(self) -> None:
        """Replace the weights by the means."""
        foreach.lerp_(self.weights, self.averages, 0.5)


def average_of(paths: Sequence[str], weights: Sequence[Tensor], average: WeightAverage | None) -> Average | None:
    """Return the average that a model's setting describes; None for None."""
    if average is None:
        return None
    if average == "start":
        return StartAverage(paths, weights)
    return MovingAverage(paths, weights, average)
