"""The recursions over the layers of a network for forward and backward passes, used for all networks and rules.

A leaf is a layer that is run as a whole: a layer without children, or a combinator that overrides `forward` or
`backward`. The other combinators run each of their children separately.
"""

from collections.abc import Callable
from typing import Any

from pellucid.base.errors import ArgumentError
from pellucid.combine.base import copy_cache, join, own_backward, uses_flow
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.layers.checks import check_floating

Rule = Callable[[Layer, Params, Cache, Any], tuple[Any, Params]]  # (layer, its params, its cache, dy) -> (dx, dparams)
Rules = Callable[[str, Layer], Rule]  # (path, layer) -> the rule for its backward pass
ForwardWatch = Callable[[str, Layer, Any, Any, Cache], None]  # (path, layer, x, y, cache)
# How a leaf runs forward: (path, layer, its params, x, mode) -> (y, its cache)
Leaf = Callable[[str, Layer, Params, Any, Mode], tuple[Any, Cache]]
After = Callable[[str, Layer, Any, Any, Cache], Any]  # (path, layer, x, y, cache) -> the output that replaces y
BackwardWatch = Callable[[str, Layer, Any, Any, Params], None]  # (path, layer, dy, dx, dparams)


def own_rule(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
    """Propagate back through a layer by its own `backward`."""
    return layer.backward(params, cache, dy)


def gradient(path: str, layer: Layer | None = None, *others: object) -> Rule:
    """Return the rule that calls a layer's own `backward`, for every layer: the rules for computing gradients.

    Raises ArgumentError for other arguments than a path and a layer, such as a model and a batch.
    """
    if others or not isinstance(layer, Layer):
        raise ArgumentError(
            "gradient is a rule for backward passes and takes a path and a layer; for gradients, call "
            "model.trace(x, y), or pellucid.forward and then pellucid.backward"
        )
    return own_rule


def forward(net: Layer, params: Params, x: Any, mode: Mode, watch: ForwardWatch | None = None) -> tuple[Any, Cache]:
    """Run `net` forward and return (y, cache).

    watch: a function called with the path, layer, input, output and cache of each leaf and combinator, children first.

    Raises PellucidError for an x of an unsupported dtype.
    """
    check_floating(x)
    if watch is None:
        return net.forward(params, x, mode)

    def after(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> Any:
        watch(path, layer, x, y, cache)
        return y

    return run(net, params, x, mode, after=after)


def own_leaf(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
    """Run a leaf by its own `forward`."""
    return layer.forward(params, x, mode)


def run(
    net: Layer, params: Params, x: Any, mode: Mode, leaf: Leaf = own_leaf, after: After | None = None
) -> tuple[Any, Cache]:
    """Run `net` forward, calling `leaf` for each leaf (see the module), and return (y, cache).

    x and the outputs may be any values that `leaf` accepts and returns. after: a function that replaces the output of
    each leaf and each combinator.
    """

    def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        if uses_flow(layer):
            y, cache = layer.flow(
                params, x, mode, lambda name, child, p, x, mode: visit(join(path, name), child, p, x, mode)
            )
        else:
            y, cache = leaf(path, layer, params, x, mode)
        return (y if after is None else after(path, layer, x, y, cache)), cache

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
    """Propagate `dy` back through `net`, each leaf (see the module) by its rule, and return (dx, dparams).

    watch: a function called with the path, layer, dy, dx and dparams of each leaf and combinator, children first.
    consume: whether to remove each layer's cache from `cache` after its use, which frees the memory early.
    """
    if not consume:
        cache = copy_cache(cache)
    # by the formulas, which `verify` and the tests have to check; for the kernels, pass `fuse.kernel_gradient`
    if rules is gradient and watch is None:
        return own_backward("", net, params, cache, dy)

    def visit(path: str, layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        if uses_flow(layer):
            dx, dparams = layer.sweep(
                params, cache, dy, lambda name, child, p, c, dy: visit(join(path, name), child, p, c, dy)
            )
        else:
            dx, dparams = rules(path, layer)(layer, params, cache, dy)
        if watch is not None:
            watch(path, layer, dy, dx, dparams)
        return dx, dparams

    return visit("", net, params, cache, dy)
