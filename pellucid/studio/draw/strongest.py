"""The weights of a whole network that change the cost most."""

import torch

from pellucid.trace import Trace

MOST = 5  # weights


def strongest(trace: Trace) -> list[dict[str, str | float]]:
    """Return the weights and biases with the largest derivatives of the cost, largest first: name and gradient."""
    found: list[tuple[float, str]] = []
    for path, gradient in trace.gradients.items():
        values, places = gradient.flatten().abs().topk(min(MOST, gradient.numel()))
        for place in places[values > 0]:
            index = ", ".join(str(int(axis)) for axis in torch.unravel_index(place, gradient.shape))
            found.append((float(gradient.flatten()[place]), f"{path}[{index}]"))
    found.sort(key=lambda one: -abs(one[0]))
    return [{"name": name, "gradient": gradient} for gradient, name in found[:MOST]]
