"""A plain recurrent layer."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_choice
from pellucid.layers.recurrent import DirectionRun, Recurrent, Weights, previous, sum_over_steps

Nonlinearity = Literal["tanh", "relu"]


@dataclass(frozen=True)
class RNN(Recurrent):
    """Read a sequence with one product for each step, as torch.nn.RNN(batch_first=True); see `Recurrent`.

    Source: Elman 1990.
    """

    gates: ClassVar[int] = 1

    nonlinearity: Nonlinearity = "tanh"

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        super().__post_init__()
        check_choice(self, get_args(Nonlinearity), nonlinearity=self.nonlinearity)

    def scan(self, weights: Weights, x: Tensor) -> DirectionRun:
        """Compute h = tanh(a + b), or relu(a + b), for each step: a from the input, b from h of the step before."""
        from_inputs = F.linear(x, weights.inputs, weights.input_bias)
        h = x.new_zeros(len(x), self.units)
        outputs: list[Tensor] = []
        for step in range(x.shape[1]):
            z = from_inputs[:, step] + F.linear(h, weights.hidden, weights.hidden_bias)
            h = z.tanh() if self.nonlinearity == "tanh" else z.relu()
            outputs.append(h)
        empty = x.new_zeros(*x.shape[:2], 0)  # the outputs suffice for the gradients
        return DirectionRun(torch.stack(outputs, 1), empty, empty)

    def scan_back(
        self, weights: Weights, x: Tensor, run: DirectionRun, dh: Tensor, d_memory: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute dz, the last step first; h also receives what the step after it needs."""
        is_tanh = self.nonlinearity == "tanh"
        slopes = 1 - run.outputs.square() if is_tanh else (run.outputs > 0).to(run.outputs)
        dz = torch.empty_like(run.outputs)
        d_next = torch.zeros_like(dh[:, 0])  # dh from the step after
        for step in reversed(range(x.shape[1])):
            dz[:, step] = (dh[:, step] + d_next) * slopes[:, step]
            d_next = dz[:, step] @ weights.hidden
        bias = dz.sum((0, 1))
        gradients = sum_over_steps(dz, x), sum_over_steps(dz, previous(run.outputs)), bias, bias.clone()
        return dz @ weights.inputs, gradients
