"""The forward and backward recursions used for all networks and rules."""

from collections.abc import Callable
from typing import Any

from pellucid.combine.base import copy_cache, is_wiring, join, own_backward
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.layers.checks import check_floating

Rule = Callable[[Layer, Params, Cache, Any], tuple[Any, Params]]
Rules = Callable[[str, Layer], Rule]
ForwardWatch = Callable[[str, Layer, Any, Any, Cache], None]  # (path, layer, x, y, cache)
# How a layer that is not a combinator runs forward: (path, layer, its params, x, mode) -> (y, its cache)
Leaf = Callable[[str, Layer, Params, Any, Mode], tuple[Any, Cache]]
After = Callable[[str, Any], Any]  # (path, a layer's output) -> the value that replaces it
BackwardWatch = Callable[[str, Layer, Any, Any, Params], None]  # (path, layer, dy, dx, dparams)


def own_rule(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
    """Propagate back through a layer by its own `backward`."""
    return layer.backward(params, cache, dy)


def gradient(path: str, layer: Layer) -> Rule:
    """Return the layer's own backward for every layer: the rules of training."""
    return own_rule


def forward(net: Layer, params: Params, x: Any, mode: Mode, watch: ForwardWatch | None = None) -> tuple[Any, Cache]:
    """Run `net` forward; `watch` is called with each layer's path, layer, input, output and cache, children first.

    Raises PellucidError for an x of an unsupported dtype.
    """
    check_floating(x)
    if watch is None:
        return net.forward(params, x, mode)

    def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        if is_wiring(layer):
            y, cache = layer.flow(
                params, x, mode, lambda name, child, p, x, mode: visit(join(path, name), child, p, x, mode)
            )
        else:
            y, cache = layer.forward(params, x, mode)
        watch(path, layer, x, y, cache)
        return y, cache

    return visit("", net, params, x, mode)


def own_leaf(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
    """Run a layer by its own `forward`."""
    return layer.forward(params, x, mode)


def run(
    net: Layer, params: Params, x: Any, mode: Mode, leaf: Leaf = own_leaf, after: After | None = None
) -> tuple[Any, Cache]:
    """Run `net` forward, each layer that is not a combinator by `leaf`, which decides what x and y are.

    after: returns what replaces any layer's output, combinators' too.
    """

    def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        if is_wiring(layer):
            y, cache = layer.flow(
                params, x, mode, lambda name, child, p, x, mode: visit(join(path, name), child, p, x, mode)
            )
        else:
            y, cache = leaf(path, layer, params, x, mode)
        return (y if after is None else after(path, y)), cache

    return visit("", net, params, x, mode)


def backward(
    net: Layer,
    params: Params,
    cache: Cache,
    dy: Any,
    rules: Rules = gradient,
    watch: BackwardWatch | None = None,
    consume: bool = False,
) -> tuple[Any, Params]:
    """Propagate `dy` back through `net`, each layer by its rule, and return (dx, dparams).

    `watch` sees each layer's path, dy, dx and dparams, combinators after their children. `consume=True` lets go
    of each cache as the sweep passes it, which empties `cache` and frees its memory at once.
    """
    if not consume:
        cache = copy_cache(cache)
    if rules is gradient and watch is None:
        return own_backward("", net, params, cache, dy)

    def visit(path: str, layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        if is_wiring(layer):
            dx, dparams = layer.sweep(
                params, cache, dy, lambda name, child, p, c, dy: visit(join(path, name), child, p, c, dy)
            )
        else:
            dx, dparams = rules(path, layer)(layer, params, cache, dy)
        if watch is not None:
            watch(path, layer, dy, dx, dparams)
        return dx, dparams

    return visit("", net, params, cache, dy)
