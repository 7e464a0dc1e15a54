"""Inlining of regions of a network that run with automatic mixed precision switched off."""

from operator import getitem
from typing import Any

import torch


def inline_regions(module: Any) -> None:
    """Replace each call of a region `torch.autocast(enabled=False)` in a graph module with the calls inside it."""
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target is not torch.ops.higher_order.wrap_with_autocast:
            continue
        _, _, enabled, _, region, *inputs = node.args
        if enabled:
            continue
        inner = getattr(module, region.target)
        inline_regions(inner)
        values = dict(zip((node for node in inner.graph.nodes if node.op == "placeholder"), inputs, strict=True))
        with module.graph.inserting_before(node):
            outputs = module.graph.graph_copy(inner.graph, values)
        for user in list(node.users):
            if user.target is getitem:
                user.replace_all_uses_with(outputs[user.args[1]])
                module.graph.erase_node(user)
        module.graph.erase_node(node)
