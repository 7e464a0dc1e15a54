"""Dense: y[n, u] = Σ_j w[u, j] x[n, j] + b[u]."""

import torch

from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, read


def dense(call: Call, what: str, place: int) -> Column:
    """Nielsen 2015, BP2 for an input, BP4 for a weight, BP3 for a bias."""
    n_in, units = call.x.shape[-1], call.y.shape[-1]
    rows = torch.arange(call.x.numel() // n_in)
    over = ", summed over the examples" if len(rows) > 1 else ""
    if what == "weight":
        unit, j = divmod(place, n_in)
        return Column(
            rows * units + unit,
            (read(call, "x.0", rows * n_in + j, "x", "activation"),),
            f"a weight multiplies an activation: the delta of unit {unit} times input {j}{over} (BP4)",
            r"\frac{\partial C}{\partial w_{uj}} = \sum_n \delta_{nu}\, x_{nj}",
        )
    if what == "bias":
        return Column(
            rows * units + place,
            (),
            f"a bias moves its unit one to one: the delta of unit {place}{over} (BP3)",
            r"\frac{\partial C}{\partial b_u} = \sum_n \delta_{nu}",
        )
    row, j = divmod(place, n_in)
    unit = torch.arange(units)
    return Column(
        row * units + unit,
        (read(call, "weight", unit * n_in + j, "w", "weight"),),
        f"input {j} feeds all {units} units: each one's delta times the weight to it (BP2)",
        r"\frac{\partial C}{\partial x_{nj}} = \sum_u \delta_{nu}\, w_{uj}",
    )
