"""The perceptron.

A perceptron weighs its inputs, adds a bias, and outputs 1 if the sum is positive and 0 otherwise: the oldest model of a
neuron (Rosenblatt 1958). It is a `Dense` layer with one output, and a threshold.
"""

from itertools import product

import torch
from torch import Tensor

from pellucid.layers import Dense
from pellucid.layers.base import Mode
from pellucid.lessons.lesson import Result, Setting

INPUTS = torch.tensor(list(product((0.0, 1.0), repeat=2)))  # (4, 2): 00, 01, 10, 11


def perceptron(x: Tensor, weights: Tensor, bias: float) -> Tensor:
    """Return 1 where w x + b > 0, else 0: (N,) for inputs (N, D)."""
    params = {"weight": weights[None], "bias": torch.tensor([bias])}
    z, _ = Dense(1).forward(params, x, Mode())
    return (z[:, 0] > 0).float()


def nand(x: Tensor) -> Tensor:
    """Return NAND of two bits, by the perceptron with weights -2, -2 and bias 3."""
    return perceptron(x, torch.tensor([-2.0, -2.0]), 3.0)


def adder(setting: Setting) -> Result:
    """Two bits added by NAND gates.

    The perceptron with weights -2, -2 and bias 3 computes NAND: its sum is 3, 1, 1 and -1 for the inputs 00, 01, 10
    and 11. Since every circuit can be built of NAND gates, perceptrons can compute anything that a circuit can. Five of
    them add two bits (Nielsen 2015, chapter 1):
    """
    a, b = INPUTS[:, 0], INPUTS[:, 1]
    middle = nand(INPUTS)
    left = nand(torch.stack([a, middle], 1))
    right = nand(torch.stack([middle, b], 1))
    total = nand(torch.stack([left, right], 1))  # a + b modulo 2
    carry = nand(torch.stack([middle, middle], 1))
    return Result({"nand": middle.int().tolist(), "sum": total.int().tolist(), "carry": carry.int().tolist()})


STEPS = (adder,)
