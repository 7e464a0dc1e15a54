"""Long short-term memory."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.recurrent import DirectionRun, Recurrent, Weights, previous, sum_over_steps


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Read a sequence with a memory c that gates protect, as torch.nn.LSTM(batch_first=True); see `Recurrent`.

    With output="cell", y is (levels * directions, N, H), the memories after the last step, PyTorch's c_n.
    Source: Hochreiter and Schmidhuber 1997; the forget gate is of Gers, Schmidhuber and Cummins 2000, equation 8.
    """

    gates: ClassVar[int] = 4  # input, forget, candidate, output
    outputs: ClassVar[tuple[str, ...]] = ("sequence", "state", "cell")

    def scan(self, weights: Weights, x: Tensor) -> DirectionRun:
        """Compute c = f c' + i g and h = o tanh(c) for each step, with c' and h' of the step before."""
        from_inputs = F.linear(x, weights.inputs, weights.input_bias)
        h = c = x.new_zeros(len(x), self.units)
        outputs: list[Tensor] = []
        memories: list[Tensor] = []
        gates: list[Tensor] = []
        for step in range(x.shape[1]):
            z = from_inputs[:, step] + F.linear(h, weights.hidden, weights.hidden_bias)
            z_i, z_f, z_g, z_o = z.chunk(4, 1)
            i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
            c = f * c + i * g
            h = o * c.tanh()
            gates.append(torch.cat([i, f, g, o], 1))
            memories.append(c)
            outputs.append(h)
        return DirectionRun(torch.stack(outputs, 1), torch.stack(memories, 1), torch.stack(gates, 1))

    def scan_back(
        self, weights: Weights, x: Tensor, run: DirectionRun, dh: Tensor, d_memory: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute dz of all gates, the last step first; h and c also receive what the step after them needs."""
        memories_before = previous(run.memories)
        d_next = torch.zeros_like(dh[:, 0])  # dh from the step after
        dc = d_memory
        d_gates = torch.empty_like(run.gates)
        for step in reversed(range(x.shape[1])):
            i, f, g, o = run.gates[:, step].chunk(4, 1)
            tanh_c = run.memories[:, step].tanh()
            d_output = dh[:, step] + d_next
            dc = dc + d_output * o * (1 - tanh_c.square())
            dz_of_gates = (
                dc * g * i * (1 - i),
                dc * memories_before[:, step] * f * (1 - f),
                dc * i * (1 - g.square()),
                d_output * tanh_c * o * (1 - o),
            )
            d_gates[:, step] = torch.cat(dz_of_gates, 1)
            d_next = d_gates[:, step] @ weights.hidden
            dc = dc * f
        bias = d_gates.sum((0, 1))
        gradients = sum_over_steps(d_gates, x), sum_over_steps(d_gates, previous(run.outputs)), bias, bias.clone()
        return d_gates @ weights.inputs, gradients
