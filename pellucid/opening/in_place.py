"""Check whether operators that write in place can be replaced with operators that return new tensors."""

from typing import Any

import torch


def writes_a_view(graph: Any) -> bool:
    """Return whether a tensor is written in place while another tensor with its memory, a view or base, is read later.

    Otherwise each in-place operator can be replaced with the operator that returns a new tensor.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    base: dict[Any, Any] = {}
    last_read: dict[Any, int] = {}  # by base, the position of the last read of the tensors so far that share its memory
    for node in graph.nodes:
        source = _aliased_input(node)
        base[node] = base.get(source, source) if source is not None else node
        if node.op == "call_function" and _is_in_place(node):
            written = node.args[0]
            if node.target.overloadpacket is torch.ops.aten.copy_ or written.op == "placeholder":
                return True
            if last_read[base[written]] > position[node]:
                return True
        reads = (position[user] for user in node.users)
        last_read[base[node]] = max(last_read.get(base[node], -1), *reads, -1)
    return False


def _is_in_place(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    first = schema.arguments[0] if schema is not None and schema.arguments else None
    return first is not None and first.alias_info is not None and first.alias_info.is_write


def _aliased_input(node: Any) -> Any:
    """Return the argument whose memory the output shares; None for new memory."""
    schema = getattr(node.target, "_schema", None)
    if node.op == "call_function" and schema is None and node.args:  # getitem of a tuple of views
        return node.args[0] if isinstance(node.args[0], torch.fx.Node) else None
    if schema is None or not any(value.alias_info for value in schema.returns):
        return None
    return next((value for value in node.args if isinstance(value, torch.fx.Node)), None)
