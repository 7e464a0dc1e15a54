"""Exponential moving average of the weights."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from pellucid.optim import foreach, pack, unpack
from pellucid.optim.base import State

AVERAGE_PREFIX = "[average]."  # prefix of names in a checkpoint; no path of a weight contains "[", so all names differ


class Average:
    """The exponential moving average a of the weights w over the updates: a ← d a + (1 - d) w.

    d is the smaller of `decay` and (1 + n) / (10 + n) in the n-th update, which quickly reduces the share of the
    initial weights. paths, weights: the learned parameters, in the same order.
    Source: Polyak and Juditsky 1992; TensorFlow's ExponentialMovingAverage for the bound (its num_updates).
    """

    def __init__(self, paths: Sequence[str], weights: Sequence[Tensor], decay: float) -> None:
        self.paths = [*paths]
        self.weights = [*weights]
        self.decay = decay
        self.averages = [weight.clone() for weight in weights]
        self.state: State = {"weights": self.averages, "updates": 0}

    def update(self) -> None:
        """Update the average; call it after each update of the weights."""
        update_count = int(self.state["updates"]) + 1  # pyright: ignore[reportArgumentType]
        self.state["updates"] = update_count
        foreach.lerp_(self.averages, self.weights, 1 - min(self.decay, (1 + update_count) / (10 + update_count)))

    @contextmanager
    def replacing_weights(self) -> Generator[None, None, None]:
        """Replace the weights by their averages within the context; afterwards restore them."""
        trained_weights = [weight.clone() for weight in self.weights]
        self.replace_weights()
        try:
            yield
        finally:
            foreach.copy_(self.weights, trained_weights)

    def replace_weights(self) -> None:
        """Replace the weights by their averages permanently."""
        foreach.copy_(self.weights, self.averages)

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
