"""Parts that networks of several families share."""

from collections.abc import Mapping, Sequence

from pellucid.combine import Graph, Sequential
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.layers.base import Layer

LOGITS = "lecun"  # the initializer of `scores`: no ReLU follows that would halve the variance, as He's assumes


def conv_norm(
    name: str,
    filters: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    epsilon: float = 1e-5,
) -> dict[str, Layer]:
    """Return a convolution and its batch normalization, whose bias replaces the convolution's.

    `conv2` gives conv2 and norm2, `reduce` gives reduce and reduce_norm.
    """
    return {
        name: Conv2d(filters, kernel, stride=stride, padding=padding, groups=groups, bias=False),
        beside(name, "norm"): BatchNorm(epsilon=epsilon),
    }


def conv_norm_relu(
    name: str,
    filters: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    epsilon: float = 1e-5,
) -> dict[str, Layer]:
    """Return a convolution, its normalization and a ReLU: conv2, norm2, relu2, or reduce, reduce_norm, reduce_relu."""
    return {
        **conv_norm(name, filters, kernel, stride, padding, epsilon=epsilon),
        beside(name, "relu"): ReLU(),
    }


def beside(name: str, kind: str) -> str:
    """Return the name of a layer after a convolution: norm2 after conv2, reduce_norm after reduce."""
    return name.replace("conv", kind, 1) if name.startswith("conv") else f"{name}_{kind}"


def average_head(classes: int, dropout: float = 0.0) -> dict[str, Layer]:
    """Return the mean over each whole map, and the scores (Lin, Chen and Yan 2014, section 3.2)."""
    drop: dict[str, Layer] = {"dropout": Dropout(dropout)} if dropout else {}
    return {
        "pool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
        **drop,
        "scores": Dense(classes, init_weight=LOGITS),
    }


def dense_head(classes: int, size: int) -> dict[str, Layer]:
    """Return three dense layers over maps of `size` x `size`, to which maps of other sizes are averaged."""
    return {
        "pool": AdaptiveAvgPool2d(size),
        "flatten": Flatten(),
        "dense1": Dense(4096),
        "relu1": ReLU(),
        "dropout1": Dropout(0.5),
        "dense2": Dense(4096),
        "relu2": ReLU(),
        "dropout2": Dropout(0.5),
        "scores": Dense(classes, init_weight=LOGITS),
    }


def units_head(classes: int, units: Sequence[int], dropout: float, after: bool = False) -> dict[str, Layer]:
    """Return dense layers with ReLU over the flattened maps, and scores.

    dropout: the fraction that training drops before each dense layer, or `after` each ReLU; 0 for no such layer.
    """
    head: dict[str, Layer] = {"flatten": Flatten()}
    for index, count in enumerate(units, start=1):
        dense: dict[str, Layer] = {f"dense{index}": Dense(count), f"relu{index}": ReLU()}
        drop: dict[str, Layer] = {f"dropout{index}": Dropout(dropout)} if dropout else {}
        head |= {**dense, **drop} if after else {**drop, **dense}
    return {**head, "scores": Dense(classes, init_weight=LOGITS)}


def network(features: Mapping[str, Layer], head: Mapping[str, Layer]) -> Sequential:
    """Return the structure of all these networks: `features`, and a `head` that ends in `scores`."""
    return Sequential(features=Sequential(**features), head=Sequential(**head))


def network_with_auxiliaries(
    features: Mapping[str, Layer], head: Mapping[str, Layer], auxiliaries: Mapping[str, tuple[str, Layer]]
) -> Sequential:
    """Return the same network with auxiliary classifiers; y is the tuple (logits, each auxiliary's logits).

    auxiliaries: by name, the layer of `features` whose output they read, and the classifier. Where a Fork would put
    all that comes after it one level deeper, these Graphs keep every path as it is without auxiliaries, so that one
    weights file serves both.
    """
    taps = tuple(dict.fromkeys(tap for tap, _ in auxiliaries.values()))
    inner = chain(features, "input")
    outer = chain(head, "maps")
    outer |= {name: (classifier, tap) for name, (tap, classifier) in auxiliaries.items()}
    return Sequential(
        features=Graph(inner, (list(inner)[-1], *taps)),
        head=Graph(outer, ("scores", *auxiliaries), ("maps", *taps)),
    )


def chain(layers: Mapping[str, Layer], first: str) -> dict[str, tuple[Layer, str]]:
    """Return layers as a chain of nodes of a Graph; the first reads `first`."""
    sources = (first, *layers)
    return {name: (layer, source) for (name, layer), source in zip(layers.items(), sources, strict=False)}
