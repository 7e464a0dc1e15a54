"""A network with some of its layers exchanged."""

from collections.abc import Callable

from pellucid.combine.base import Combinator
from pellucid.layers.base import Layer


def renewed(net: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """Return the network with `change` of every layer that is no combinator in its place."""
    if isinstance(net, Combinator):
        return net.rebuild({name: renewed(child, change) for name, child in net.layers.items()})
    return change(net)
