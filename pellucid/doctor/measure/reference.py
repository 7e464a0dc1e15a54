"""What linear regression makes of the same examples: how much of numbers there is to learn."""

import torch
from torch import Tensor

RIDGE = 0.1  # of the mean squared length of an example; enough where there are more values than examples
TINY = 1e-12  # for inputs that are all the same, whose ridge would be 0


def linear_error(x: Tensor, y: Tensor) -> float:
    """Return the mean squared error on the second half of examples of what was fitted to the first.

    x, y: (N, ...), N at least 2. Ridge regression in its dual form: Rasmussen, Williams 2006, section 2.1.
    """
    half = len(x) // 2
    rows = x.reshape(len(x), -1).double()
    rows = rows - rows[:half].mean(0)
    wanted = y.reshape(len(y), -1).double()
    mean = wanted[:half].mean(0)
    own = rows[:half] @ rows[:half].t()
    ridge = RIDGE * own.diagonal().mean().clamp_min(TINY) * torch.eye(half, dtype=own.dtype)
    weights = torch.linalg.solve(own + ridge, wanted[:half] - mean)
    said = rows[half:] @ (rows[:half].t() @ weights) + mean
    return (said - wanted[half:]).square().mean().item()
