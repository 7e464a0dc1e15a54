"""Check that functions with a custom backward pass have the gradients that the layers compute."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from pellucid.opening.exported import evaluating
from pellucid.opening.model import OpenedModel
from pellucid.verify.modules import module_gradients

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}  # difference of gradients, relative to the largest value of all


def check_custom_backward(
    network: nn.Module, model: OpenedModel, inputs: tuple[Tensor, ...], names: Iterable[str]
) -> None:
    """Raise PellucidError if a network's gradients for these inputs differ from the gradients of its layers.

    names: the names of the network's functions with a custom backward pass, for the message.
    """
    with evaluating(network):
        dys, dxs, expected = module_gradients(network, inputs)
    x, dy = ((values if len(values) > 1 else next(iter(values))) for values in (inputs, dys))
    gradients = model.gradients(x, dy)
    input_gradients = gradients["input"] if isinstance(gradients["input"], tuple) else (gradients["input"],)
    pairs = [
        *zip(input_gradients, dxs, strict=True),
        *((gradients[key], expected[key]) for key in expected if key in gradients),
    ]
    largest = max(float(network_gradient.abs().max()) for _, network_gradient in pairs)
    largest_error = max(float((gradient - network_gradient).abs().max()) for gradient, network_gradient in pairs)
    if not largest_error <= TOLERANCE[model.dtype] * largest:
        raise PellucidError(
            f"open: {', '.join(sorted(names))} has a backward pass that is not the derivative of its forward pass, and "
            "the layers compute the derivative; gradients would differ from the network's"
        )
