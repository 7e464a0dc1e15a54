"""Opening of networks that other people wrote: from a PyTorch module to a Model with an explicit backward pass."""

from pellucid.opening.open_network import open
from pellucid.opening.registered import register_op

__all__ = ["open", "register_op"]
