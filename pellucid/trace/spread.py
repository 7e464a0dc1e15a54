"""How the numbers of a tensor lie."""

from typing import TypedDict

from torch import Tensor


class Spread(TypedDict):
    """Mean, root mean square, smallest, largest, and the share that is 0."""

    mean: float
    rms: float
    least: float
    most: float
    zero: float


def spread(tensor: Tensor) -> Spread:
    """Return how the numbers lie; zeros for an empty tensor."""
    x = tensor.double()
    if not x.numel():
        return Spread(mean=0.0, rms=0.0, least=0.0, most=0.0, zero=0.0)
    return Spread(
        mean=float(x.mean()),
        rms=float(x.square().mean().sqrt()),
        least=float(x.min()),
        most=float(x.max()),
        zero=float((x == 0).double().mean()),
    )
