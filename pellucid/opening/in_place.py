"""Check whether operators that write in place can be replaced with operators that return new tensors."""

from typing import Any

import torch


def writes_a_view(graph: Any) -> bool:
    """Return whether a tensor is written in place while another tensor with its memory, a view or base, is read later.

    Otherwise each in-place operator can be replaced with the operator that returns a new tensor.
    """
    index_by_node = {node: position for position, node in enumerate(graph.nodes)}
    base_by_node: dict[Any, Any] = {}
    # the position of the last read of the tensors so far that share the memory of a base
    last_read_by_base: dict[Any, int] = {}
    for node in graph.nodes:
        source = _aliased_input(node)
        base_by_node[node] = base_by_node.get(source, source) if source is not None else node
        if node.op == "call_function" and _is_in_place(node):
            written = node.args[0]
            if node.target.overloadpacket is torch.ops.aten.copy_ or written.op == "placeholder":
                return True
            if last_read_by_base[base_by_node[written]] > index_by_node[node]:
                return True
        read_indices = (index_by_node[user] for user in node.users)
        last_read_by_base[base_by_node[node]] = max(last_read_by_base.get(base_by_node[node], -1), *read_indices, -1)
    return False


def _is_in_place(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    first_argument = schema.arguments[0] if schema is not None and schema.arguments else None
    return first_argument is not None and first_argument.alias_info is not None and first_argument.alias_info.is_write


def _aliased_input(node: Any) -> Any:
    """Return the argument whose memory the output shares; None for new memory."""
    schema = getattr(node.target, "_schema", None)
    if node.op == "call_function" and schema is None and node.args:  # getitem of a tuple of views
        return node.args[0] if isinstance(node.args[0], torch.fx.Node) else None
    if schema is None or not any(value.alias_info for value in schema.returns):
        return None
    return next((value for value in node.args if isinstance(value, torch.fx.Node)), None)
