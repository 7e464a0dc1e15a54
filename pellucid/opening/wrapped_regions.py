"""Inlining of regions of a network that run without automatic mixed precision, or without gradients."""

from operator import getitem
from typing import Any

import torch


def inline_regions(module: Any) -> None:
    """Replace each call of a region in a graph module with the calls inside it.

    Regions are those of `torch.autocast(enabled=False)`, and of `torch.no_grad()`, whose outputs are detached.
    """
    for node in list(module.graph.nodes):
        region_call = _region_call(node)
        if region_call is None:
            continue
        region, inputs, is_constant = region_call
        inner = getattr(module, region.target)
        if is_constant and any(map(_region_call, inner.graph.nodes)):
            continue  # a region in it may have gradients again
        inline_regions(inner)
        values = dict(zip((node for node in inner.graph.nodes if node.op == "placeholder"), inputs, strict=True))
        with module.graph.inserting_before(node):
            outputs = module.graph.graph_copy(inner.graph, values)
            if is_constant:
                outputs = [_detached(module.graph, output) for output in outputs]
        for user in list(node.users):
            if user.target is getitem:
                user.replace_all_uses_with(outputs[user.args[1]])
                module.graph.erase_node(user)
        module.graph.erase_node(node)


def _region_call(node: Any) -> tuple[Any, list[Any], bool] | None:
    """Return the region that a node calls, its inputs and whether it has no gradients; None for other nodes."""
    if node.op != "call_function":
        return None
    if node.target is torch.ops.higher_order.wrap_with_autocast:
        _, _, enabled, _, region, *inputs = node.args
        return None if enabled else (region, inputs, False)
    if node.target is torch.ops.higher_order.wrap_with_set_grad_enabled:
        enabled, region, *inputs = node.args
        return region, inputs, not enabled
    return None


def _detached(graph: Any, output: Any) -> Any:
    node = graph.call_function(torch.ops.aten.detach.default, (output,))
    node.meta = dict(output.meta)
    return node
