"""The exponential moving average of the weights."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from pellucid.optim import foreach, pack, unpack
from pellucid.optim.base import State

AVERAGE = "[average]."  # "[" is in no path of a network, so these names never meet those of an optimizer's state


class Average:
    """The average a of the weights w over the updates: a <- d a + (1 - d) w.

    d is `decay`, in the n-th update at most (1 + n) / (10 + n), so that the first weights are soon forgotten.
    Source: Polyak and Juditsky 1992; the bound is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, paths: Sequence[str], weights: Sequence[Tensor], decay: float) -> None:
        self.paths, self.weights, self.decay = [*paths], [*weights], decay
        self.averages = [weight.clone() for weight in weights]
        self.state: State = {"weights": self.averages, "updates": 0}

    def update(self) -> None:
        """Include the weights after one more update."""
        number = int(self.state["updates"]) + 1  # pyright: ignore[reportArgumentType]
        self.state["updates"] = number
        foreach.lerp_(self.averages, self.weights, 1 - min(self.decay, (1 + number) / (10 + number)))

    @contextmanager
    def used(self) -> Generator[None, None, None]:
        """Put the averages in the weights' place within the context."""
        own = [weight.clone() for weight in self.weights]
        self.take()
        try:
            yield
        finally:
            foreach.copy_(self.weights, own)

    def take(self) -> None:
        """Copy the averages into the weights for good."""
        foreach.copy_(self.weights, self.averages)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by path, and how many updates they include."""
        return {AVERAGE + name: tensor for name, tensor in pack(self.state, self.paths).items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        own = {name: tensor for name, tensor in state.items() if name.startswith(AVERAGE)}
        unpack(self.state, self.paths, {name.removeprefix(AVERAGE): tensor for name, tensor in own.items()})
