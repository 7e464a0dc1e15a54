"""RMSprop."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.base import Optimizer, State, check_range, check_state, tensors_of, zeros


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s ← rho s + (1 - rho) g², v ← momentum v + g / (√s + epsilon), w ← w - lr v.

    Where `centered`, m ← rho m + (1 - rho) g and the variance s - m² stands in the place of s.
    Source: Tieleman and Hinton 2012, lecture 6.5; momentum as in torch.optim.RMSprop, whose alpha is rho;
    centered: Graves 2013, Generating sequences with recurrent neural networks, equations 38 to 41.
    """

    lr: float = 0.01
    rho: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate below 0, rho or momentum outside [0, 1), epsilon not above 0."""
        check_range(self, lr=self.lr)
        check_range(self, high=1.0, rho=self.rho, momentum=self.momentum)
        check_range(self, open_low=True, epsilon=self.epsilon)

    def init(self, params: list[Tensor]) -> State:
        """Return a mean square of 0 for each parameter, a velocity where there is momentum, a mean where centered."""
        return {name: zeros(params) for name in self._names()}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        check_state(self, state, self._names())
        square_mean = tensors_of(state, "square_mean")
        foreach.mul_(square_mean, self.rho)
        foreach.addcmul_(square_mean, grads, grads, value=1 - self.rho)
        if self.centered:
            mean = tensors_of(state, "mean")
            foreach.lerp_(mean, grads, 1 - self.rho)
            square_mean = foreach.addcmul(square_mean, mean, mean, value=-1)
            foreach.clamp_min_(square_mean, 0.0)  # rounding may leave the variance of a constant below 0
        size = foreach.sqrt(square_mean)
        foreach.add_(size, self.epsilon)
        if self.momentum == 0:
            foreach.addcdiv_(params, grads, size, value=-lr)
            return
        velocity = tensors_of(state, "velocity")
        foreach.mul_(velocity, self.momentum)
        foreach.addcdiv_(velocity, grads, size)
        foreach.add_(params, velocity, alpha=-lr)

    def _names(self) -> tuple[str, ...]:
        velocity, mean = ("velocity",) if self.momentum != 0 else (), ("mean",) if self.centered else ()
        return ("square_mean", *velocity, *mean)
