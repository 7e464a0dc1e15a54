"""The interface of optimizers, which update parameters in place, and gradient clipping."""
# The types of values are checked at run time, because user code may pass other types than annotated.
# Some functions of PyTorch have no type annotations.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownMemberType=false

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from math import inf
from typing import ClassVar, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked
from pellucid.optim import foreach

# The state of an optimizer between steps: lists of tensors in the order of the parameters ("velocity": [...]), and
# whole numbers ("step": 3). `pack` names the tensors for a checkpoint.
State = dict[str, list[Tensor] | int]


@dataclass(frozen=True)
class Optimizer(metaclass=Checked):
    """A rule that updates parameters by their gradients: a frozen dataclass of hyperparameters.

    lr: the base learning rate; a schedule multiplies it, and the product is passed to `update`.
    elementwise: whether `update` changes each value only by its own gradient and state, so that the state can be
        divided among processes; it is set in the class that defines `update`.
    """

    elementwise: ClassVar[bool] = False

    lr: float

    @property
    def usual_lr(self) -> float:
        """The default learning rate of the class; infinite if it has none."""
        default = next(field.default for field in fields(self) if field.name == "lr")
        return inf if default is MISSING else float(default)

    def for_paths(self, paths: Sequence[str]) -> "Optimizer":
        """Return the optimizer for the parameters at these paths, in their order; by default, the same for all."""
        return self

    @abstractmethod
    def init(self, params: list[Tensor]) -> State:
        """Return the state before the first step."""

    @abstractmethod
    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step with learning rate `lr`: changes `params` and `state` in place, reads `grads`.

        Parameters and gradients are in the same order, of the same shapes, in float32 or float64.
        """

    def decay(self, weights: list[Tensor], lr: float) -> None:
        """Apply decoupled weight decay to `weights` in place; called before `update`. By default, does nothing.

        weights: the parameters in `decayed` of their layers. They are a separate argument because an optimizer cannot
        distinguish weights from biases or scales of normalization by their shapes.
        """


def zeros(params: list[Tensor]) -> list[Tensor]:
    """Return a tensor of zeros like each parameter."""
    return [torch.zeros_like(param) for param in params]


def tensors_of(state: State, name: str) -> list[Tensor]:
    """Return the entry `name` of the state, a list with one tensor for each parameter."""
    tensors = state[name]
    if isinstance(tensors, int):
        raise PellucidError(f"optimizer state: {name!r} is a number, not tensors; resume from a complete checkpoint")
    return tensors


def check_state(optimizer: Optimizer, state: State, names: tuple[str, ...]) -> None:
    """Raise PellucidError unless the state has the entries `names`, as created by `optimizer.init`."""
    if state.keys() != set(names):
        actual, expected = (", ".join(sorted(entries)) or "nothing" for entries in (state, names))
        raise PellucidError(
            f"optimizer state: it contains {actual}, not {expected}, so it is a state for other options than those of "
            f"{optimizer!r}; create one with its init"
        )


def increment_step(state: State) -> int:
    """Add 1 to the state's number of steps and return it."""
    step = state["step"]
    if not isinstance(step, int):
        raise PellucidError("optimizer state: 'step' is not a number; resume from a complete checkpoint")
    state["step"] = step + 1
    return step + 1


def pack(state: State, paths: list[str]) -> dict[str, Tensor]:
    """Return the state as named tensors for a checkpoint: `velocity.block1.conv.weight`, `step`.

    paths: the paths of the parameters, in the order of the state's tensors.
    """
    tensors_by_name: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, int):
            tensors_by_name[name] = torch.tensor(value)
        else:
            tensors_by_name.update({f"{name}.{path}": tensor for path, tensor in zip(paths, value, strict=True)})
    return tensors_by_name


def unpack(state: State, paths: list[str], saved_tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors returned by `pack` into a new state from `init`, in place.

    Raises PellucidError for tensors that are missing, unknown or of another shape or dtype.
    """
    expected = pack(state, paths)
    if expected.keys() != saved_tensors.keys():
        wrong_name = sorted(expected.keys() ^ saved_tensors.keys())[0]
        problem = "missing" if wrong_name in expected else "unknown"
        raise PellucidError(
            f"optimizer state: {wrong_name!r} is {problem}; resume with the optimizer and network that saved it"
        )
    for name, tensor in expected.items():
        if tensor.shape != saved_tensors[name].shape or tensor.dtype != saved_tensors[name].dtype:
            raise PellucidError(
                f"optimizer state: {name!r} is {tuple(saved_tensors[name].shape)} {saved_tensors[name].dtype}, not "
                f"{tuple(tensor.shape)} {tensor.dtype}; resume with the optimizer and network that saved it"
            )
    for name, value in state.items():
        if isinstance(value, int):
            state[name] = int(saved_tensors[name])
        else:
            for path, tensor in zip(paths, value, strict=True):
                tensor.copy_(saved_tensors[f"{name}.{path}"])


def clip_by_norm(grads: list[Tensor], limit: float) -> Tensor:
    """Scale all gradients in place so that their joint norm is at most `limit`; return the norm before scaling.

    If the norm is not finite, all gradients become NaN, so that the error appears in the weights. (With PyTorch's
    clip_grad_norm_, finite gradients whose norm overflows become 0, and the weights silently stop changing.)
    Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
    """
    norm = cast(Tensor, torch.stack(foreach.norm(grads)).norm())
    # norm - norm is 0, or NaN if the norm is not finite.
    # 1e-6, as in PyTorch's function, avoids a division by 0.
    foreach.mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0) + (norm - norm))
    return norm


def clip_by_value(grads: list[Tensor], limit: float) -> None:
    """Clip every value of all gradients to [-limit, limit], in place."""
    foreach.clamp_min_(grads, -limit)
    foreach.clamp_max_(grads, limit)
