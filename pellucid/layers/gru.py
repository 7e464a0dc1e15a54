"""Gated recurrent units."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.recurrent import DirectionRun, Recurrent, Weights, previous, sum_over_steps


@dataclass(frozen=True)
class GRU(Recurrent):
    """Read a sequence with a state that gates keep or replace, as torch.nn.GRU(batch_first=True); see `Recurrent`.

    Source: Cho et al. 2014, equations 5 to 8, with the reset gate after the product, as in PyTorch and cuDNN.
    """

    gates: ClassVar[int] = 3  # reset, update, candidate

    def scan(self, weights: Weights, x: Tensor) -> DirectionRun:
        """Compute n = tanh(a + r b) and h = (1 - z) n + z h' for each step, with h' of the step before."""
        from_inputs = F.linear(x, weights.inputs, weights.input_bias)
        h = x.new_zeros(len(x), self.units)
        outputs: list[Tensor] = []
        gates: list[Tensor] = []
        for step in range(x.shape[1]):
            a_r, a_z, a_n = from_inputs[:, step].chunk(3, 1)
            b_r, b_z, b_n = F.linear(h, weights.hidden, weights.hidden_bias).chunk(3, 1)
            r, z = (a_r + b_r).sigmoid(), (a_z + b_z).sigmoid()
            n = (a_n + r * b_n).tanh()
            h = (1 - z) * n + z * h
            gates.append(torch.cat([r, z, n, b_n], 1))
            outputs.append(h)
        return DirectionRun(torch.stack(outputs, 1), x.new_zeros(*x.shape[:2], 0), torch.stack(gates, 1))

    def scan_back(
        self, weights: Weights, x: Tensor, run: DirectionRun, dh: Tensor, d_memory: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute da and db of all gates, the last step first; h also receives what the step after it needs."""
        outputs_before = previous(run.outputs)
        d_next = torch.zeros_like(dh[:, 0])  # dh from the step after
        from_inputs: list[Tensor] = []
        from_hidden: list[Tensor] = []
        for step in reversed(range(x.shape[1])):
            r, z, n, b_n = run.gates[:, step].chunk(4, 1)
            d_output = dh[:, step] + d_next
            d_n = d_output * (1 - z) * (1 - n.square())
            d_z = d_output * (outputs_before[:, step] - n) * z * (1 - z)
            d_r = d_n * b_n * r * (1 - r)
            from_inputs.append(torch.cat([d_r, d_z, d_n], 1))
            from_hidden.append(torch.cat([d_r, d_z, d_n * r], 1))
            d_next = d_output * z + from_hidden[-1] @ weights.hidden
        da, db = (torch.stack(values[::-1], 1) for values in (from_inputs, from_hidden))
        gradients = sum_over_steps(da, x), sum_over_steps(db, outputs_before), da.sum((0, 1)), db.sum((0, 1))
        return da @ weights.inputs, gradients
