"""Reference for layer-wise relevance propagation: layers as explicit matrices, rules as loops over their entries.

Forward passes are those of tests/references.py, in float64; pellucid's layers and rules are not used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid import combine
from pellucid.layers import Layer, Mode
from tests.references import reference_forward

Array = np.ndarray
# (matrix (out, in), bias (out,), x (in,), R (out,)) -> relevance of the inputs (in,)
DenseRule = Callable[[Array, Array, Array, Array], Array]


def stabilize(z: float, epsilon: float) -> float:
    return z + epsilon if z >= 0 else z - epsilon


def share_by_contributions(
    w: Array, b: Array, x: Array, relevance: Array, weigh: Callable[[float, float, float], float], epsilon: float
) -> Array:
    """Share each R_j in proportion to weigh(c_ij, z_j, R_j), with c_ij = x_i w_ji; the bias absorbs its share."""
    result = np.zeros_like(x)
    for j, r in enumerate(relevance):
        z = sum(x[i] * w[j, i] for i in range(len(x))) + b[j]
        parts = [weigh(x[i] * w[j, i], z, r) for i in range(len(x))]
        total = stabilize(sum(parts) + weigh(b[j], z, r), epsilon)
        for i in range(len(x)):
            result[i] += parts[i] / total * r
    return result


def epsilon_rule(epsilon: float) -> DenseRule:
    return lambda w, b, x, r: share_by_contributions(w, b, x, r, lambda c, z, _: c, epsilon)


def zero_rule() -> DenseRule:
    def rule(w: Array, b: Array, x: Array, relevance: Array) -> Array:
        result = np.zeros_like(x)
        for j, r in enumerate(relevance):
            z = w[j] @ x + b[j]
            if z != 0:
                result += x * w[j] / z * r
        return result

    return rule


def z_plus_rule(epsilon: float) -> DenseRule:
    return lambda w, b, x, r: share_by_contributions(w, b, x, r, lambda c, z, _: max(c, 0.0), epsilon)


def alpha_beta_rule(alpha: float, beta: float, epsilon: float) -> DenseRule:
    def rule(w: Array, b: Array, x: Array, r: Array) -> Array:
        positive = share_by_contributions(w, b, x, r, lambda c, z, _: max(c, 0.0), epsilon)
        negative = share_by_contributions(w, b, x, r, lambda c, z, _: min(c, 0.0), epsilon)
        return alpha * positive - beta * negative

    return rule


def gamma_rule(gamma: float, epsilon: float) -> DenseRule:
    def weigh(c: float, z: float, _: float) -> float:
        if z == 0:
            return 0.0
        return c + gamma * (max(c, 0.0) if z > 0 else min(c, 0.0))

    return lambda w, b, x, r: share_by_contributions(w, b, x, r, weigh, epsilon)


def z_box_rule(low: Array, high: Array, epsilon: float) -> DenseRule:
    def rule(w: Array, b: Array, x: Array, relevance: Array) -> Array:
        result = np.zeros_like(x)
        for j, r in enumerate(relevance):
            q = [x[i] * w[j, i] - low[i] * max(w[j, i], 0.0) - high[i] * min(w[j, i], 0.0) for i in range(len(x))]
            assert min(q) >= -1e-12
            for i in range(len(x)):
                result[i] += q[i] / stabilize(sum(q), epsilon) * r
        return result

    return rule


def w_square_rule(epsilon: float) -> DenseRule:
    return lambda w, b, x, r: sum((w[j] ** 2 / ((w[j] ** 2).sum() + epsilon) * r[j] for j in range(len(r))), 0 * x)


def flat_rule(epsilon: float) -> DenseRule:
    """Return the flat rule for weights other than 0: entries of the matrix that are 0 are not connections."""
    return lambda w, b, x, r: sum(((w[j] != 0) / ((w[j] != 0).sum() + epsilon) * r[j] for j in range(len(r))), 0 * x)


def without_bias(rule: DenseRule) -> DenseRule:
    return lambda w, b, x, r: rule(w, 0 * b, x, r)


def matrix_and_bias(layer: Layer, params: Any, shape: torch.Size) -> tuple[Array, Array]:
    """Return the matrix and the bias of a layer that is linear in evaluation mode, for one example of `shape`."""
    count = shape.numel()
    inputs = torch.cat((torch.zeros(1, count), torch.eye(count))).double().view(-1, *shape)
    y = reference_forward(layer, params, inputs, Mode()).reshape(count + 1, -1)
    return (y[1:] - y[0]).T.numpy(), y[0].numpy()


def relevance_by_matrix(rule: DenseRule, layer: Layer, params: Any, x: Tensor, relevance: Tensor) -> Tensor:
    """Return the relevance of x: the rule applied to a linear layer, example by example."""
    w, b = matrix_and_bias(layer, params, x.shape[1:])
    relevances = [
        rule(w, b, example.flatten().numpy(), r.flatten().numpy()) for example, r in zip(x, relevance, strict=True)
    ]
    return torch.from_numpy(np.stack(relevances)).view(x.shape)


def bias_relevance(rule: DenseRule, layer: Layer, params: Any, x: Tensor, relevance: Tensor) -> float:
    """Return the total relevance of the biases, which are treated as weights of an additional input of 1."""
    w, b = matrix_and_bias(layer, params, x.shape[1:])
    extended_matrix, no_bias = np.concatenate((w, b[:, None]), 1), np.zeros_like(b)
    pairs = [
        (np.append(example.flatten().numpy(), 1.0), r.flatten().numpy())
        for example, r in zip(x, relevance, strict=True)
    ]
    return float(sum(rule(extended_matrix, no_bias, example, r)[-1] for example, r in pairs))


# (path, layer, params, x, y, R) -> relevance of the inputs of the leaf
Leaf = Callable[[str, Layer, Any, Any, Any, Tensor], Any]


def relevance_of(net: Layer, params: Any, x: Any, relevance: Any, leaf: Leaf, path: str = "") -> Any:
    """Return the relevance of x, propagated through all layers; each part runs forward once more for its inputs."""

    def child_path(name: str) -> str:
        return f"{path}.{name}".lstrip(".")

    match net:
        case combine.Sequential():
            inputs = [x]
            for name, child in net.children.items():
                inputs.append(reference_forward(child, params[name], inputs[-1], Mode()))
            for (name, child), child_input in zip(reversed(net.children.items()), reversed(inputs[:-1]), strict=True):
                relevance = relevance_of(child, params[name], child_input, relevance, leaf, child_path(name))
            return relevance
        case combine.Parallel():
            ys = tuple(reference_forward(child, params[name], x, Mode()) for name, child in net.branches.items())
            parts = relevance_of(net.merge, params["merge"], ys, relevance, leaf, child_path("merge"))
            shares = zip(net.branches.items(), parts, strict=True)
            return sum(
                relevance_of(child, params[name], x, share, leaf, child_path(name)) for (name, child), share in shares
            )
        case combine.Fork():
            shares = zip(net.heads.items(), relevance, strict=True)
            return sum(
                relevance_of(child, params[name], x, share, leaf, child_path(name)) for (name, child), share in shares
            )
        case combine.Shared():
            shares = zip(x, relevance, strict=True)
            return tuple(
                relevance_of(net.layer, params["layer"], child_input, share, leaf, child_path("layer"))
                for child_input, share in shares
            )
        case combine.Graph():
            return _graph(net, params, x, relevance, leaf, child_path)
        case _:
            return leaf(path, net, params, x, reference_forward(net, params, x, Mode()), relevance)


def _graph(
    net: combine.Graph, params: Any, x: Any, relevance: Any, leaf: Leaf, child_path: Callable[[str], str]
) -> Any:
    values = dict(zip(net.inputs, x if len(net.inputs) > 1 else (x,), strict=True))
    layer_nodes = {name: node[0] if isinstance(node[0], str) else name for name, node in net.nodes.items()}
    node_inputs: dict[str, Any] = {}
    for name, (_, *sources) in net.nodes.items():
        inputs = tuple(values[source] for source in sources)
        node_inputs[name] = inputs if len(inputs) > 1 else inputs[0]
        values[name] = reference_forward(
            net.nodes[layer_nodes[name]][0], params[layer_nodes[name]], node_inputs[name], Mode()
        )
    node_relevance: dict[str, Any] = dict.fromkeys((*net.inputs, *net.nodes), 0)
    outputs = zip(net.outputs, relevance if len(net.outputs) > 1 else (relevance,), strict=True)
    for name, part in outputs:
        node_relevance[name] = node_relevance[name] + part
    for name, (_, *sources) in reversed(net.nodes.items()):
        layer_node = layer_nodes[name]
        relevances = relevance_of(
            net.nodes[layer_node][0],
            params[layer_node],
            node_inputs[name],
            node_relevance[name],
            leaf,
            child_path(layer_node),
        )
        for source, part in zip(sources, relevances if len(sources) > 1 else (relevances,), strict=True):
            node_relevance[source] = node_relevance[source] + part
    input_relevance = tuple(node_relevance[name] for name in net.inputs)
    return input_relevance if len(input_relevance) > 1 else input_relevance[0]
