"""What the recurrent layers share: levels, directions, parameters and the order of the passes through time."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_flag, check_known, check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait

RecurrentOutput = Literal["sequence", "state", "cell"]


class Weights(NamedTuple):
    """The parameters of one direction of one level: for its input, and for its own output of the step before."""

    inputs: Tensor  # (G H, D) for G gates
    hidden: Tensor  # (G H, H)
    input_bias: Tensor | None  # (G H,)
    hidden_bias: Tensor | None


class DirectionRun(NamedTuple):
    """What one direction of one level computes in all steps, in the order in which it reads them."""

    outputs: Tensor  # (N, T, H)
    memories: Tensor  # (N, T, H), or (N, T, 0)
    gates: Tensor  # (N, T, values of all gates)


class RecurrentCache(NamedTuple):
    """Cache of a recurrent layer: its input, and the values of its runs, stacked along a first axis."""

    x: Tensor
    outputs: Tensor
    memories: Tensor
    gates: Tensor


@dataclass(frozen=True)
class Recurrent(Layer):
    """Base class of layers that read a sequence step by step.

    x is (N, T, D). With output="sequence", y is (N, T, H) for H `units`, the outputs of all steps of the last level, or
    (N, T, 2 H) if `bidirectional`, forward ones first. With output="state", y is (levels * directions, N, H), the last
    output of each, as PyTorch's h_n. All states begin at 0. levels: each reads the outputs of the one before.
    The parameters have the names and the shapes of torch.nn.LSTM, GRU and RNN: `weight_ih_l0` and so on.
    """

    # NEW_DX: newly allocated, so other layers may overwrite it.
    traits: ClassVar[Trait] = Trait.LEARNS | Trait.NEW_DX
    gates: ClassVar[int]
    outputs: ClassVar[tuple[str, ...]] = ("sequence", "state")

    units: int
    levels: int = 1
    bidirectional: bool = False
    bias: bool = True
    output: RecurrentOutput = "sequence"

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, units=self.units, levels=self.levels)
        check_flag(self, bidirectional=self.bidirectional, bias=self.bias)
        check_known(f"{type(self).__name__}: output", self.output, get_args(RecurrentOutput))
        check_known(f"{type(self).__name__}: output", self.output, self.outputs)

    @property
    def decayed(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weights, without the biases."""
        return tuple(f"weight_{kind}_{suffix}" for suffix in self._suffixes() for kind in ("ih", "hh"))

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Draw the parameters between -1 / sqrt(H) and 1 / sqrt(H), as PyTorch; return them and the output shape."""
        if len(shape) != 2:
            raise PellucidError(f"{type(self).__name__} takes sequences (steps, values), not {tuple(shape)}")
        limit = self.units**-0.5
        directions = 2 if self.bidirectional else 1
        params: Params = {}
        for level in range(self.levels):
            size = directions * self.units if level else shape[1]
            for suffix in self._suffixes(level):
                shapes = {"weight_ih": (size,), "weight_hh": (self.units,)}
                shapes |= {"bias_ih": (), "bias_hh": ()} if self.bias else {}
                for name, input_axes in shapes.items():
                    value = torch.empty(self.gates * self.units, *input_axes)
                    params[f"{name}_{suffix}"] = value.uniform_(-limit, limit, generator=rng)
        return params, (shape[0], directions * self.units)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, RecurrentCache]:
        """Run all levels, one after another, in one or both directions."""
        runs: list[DirectionRun] = []
        y = x
        for level in range(self.levels):
            level_runs: list[DirectionRun] = []
            for direction, suffix in enumerate(self._suffixes(level)):
                level_runs.append(self.scan(self._weights(params, suffix), y.flip(1) if direction else y))
            y = _joined([run.outputs for run in level_runs])
            runs += level_runs
        cache = RecurrentCache(x, *(torch.stack(values) for values in zip(*runs, strict=True)))
        if self.output == "sequence":
            return y, cache
        return (cache.outputs if self.output == "state" else cache.memories)[:, :, -1], cache

    def backward(self, params: Params, cache: RecurrentCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Run all levels back through time, the last one first."""
        dparams: Params = {}
        n_directions = 2 if self.bidirectional else 1
        width = n_directions * self.units
        d_level = dy if self.output == "sequence" else dy.new_zeros(*cache.outputs.shape[1:3], width)
        for level in reversed(range(self.levels)):
            first = level * n_directions  # the number of the level's first run
            x = _joined([*cache.outputs[first - n_directions : first]]) if level else cache.x
            dx = torch.zeros_like(x)
            for direction, suffix in enumerate(self._suffixes(level)):
                run_index = first + direction
                dh = d_level.chunk(n_directions, 2)[direction]
                dh = dh.flip(1) if direction else dh.clone()
                if self.output == "state":
                    dh[:, -1] += dy[run_index]
                d_memory = dy[run_index] if self.output == "cell" else torch.zeros_like(dh[:, -1])
                run = DirectionRun(cache.outputs[run_index], cache.memories[run_index], cache.gates[run_index])
                weights = self._weights(params, suffix)
                direction_dx, gradients = self.scan_back(weights, x.flip(1) if direction else x, run, dh, d_memory)
                dx += direction_dx.flip(1) if direction else direction_dx
                # Without biases, the last two gradients are left out.
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
                dparams |= {f"{name}_{suffix}": value for name, value in zip(names, gradients, strict=False)}
            d_level = dx
        return d_level, dparams

    @abstractmethod
    def scan(self, weights: Weights, x: Tensor) -> DirectionRun:
        """Return the outputs h, memories and gates of all steps of inputs x (N, T, D)."""

    @abstractmethod
    def scan_back(
        self, weights: Weights, x: Tensor, run: DirectionRun, dh: Tensor, d_memory: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return dx, and the gradients in the order of Weights.

        dh: (N, T, H), of the outputs of all steps. d_memory: (N, H), of the memory after the last step.
        """

    def _suffixes(self, level: int | None = None) -> Iterator[str]:
        """Yield the ends of the parameters' names for each direction of a level, by default of all levels."""
        for k in range(self.levels) if level is None else (level,):
            yield f"l{k}"
            if self.bidirectional:
                yield f"l{k}_reverse"

    def _weights(self, params: Params, suffix: str) -> Weights:
        biases = (params.get(f"{name}_{suffix}") for name in ("bias_ih", "bias_hh"))
        return Weights(params[f"weight_ih_{suffix}"], params[f"weight_hh_{suffix}"], *biases)


def previous(values: Tensor) -> Tensor:
    """Return values (N, T, H) of all steps, each at the step after it, with 0 at the first step."""
    return F.pad(values[:, :-1], (0, 0, 1, 0))


def sum_over_steps(d_gates: Tensor, x: Tensor) -> Tensor:
    """Return Σ d_gatesᵀ x over examples and steps, from (N, T, G H) and (N, T, D)."""
    return d_gates.flatten(0, 1).t() @ x.flatten(0, 1)


def _joined(outputs: Sequence[Tensor]) -> Tensor:
    """Return the outputs of a level's directions side by side, both in the order of the steps."""
    return outputs[0] if len(outputs) == 1 else torch.cat([outputs[0], outputs[1].flip(1)], 2)
