"""Building blocks that networks of different families share."""

from collections.abc import Mapping, Sequence

from pellucid.combine import Graph, Parallel, Sequential
from pellucid.layers import AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Dense, Dropout, Flatten, Identity, ReLU
from pellucid.layers.base import Layer

LOGITS_INITIALIZER = "lecun"  # initializer of the layer `scores`; He's initialization assumes that a ReLU follows


def conv_norm(
    name: str,
    filters: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    epsilon: float = 1e-5,
) -> dict[str, Layer]:
    """Return a convolution without bias and a batch normalization.

    The layers are named conv2 and norm2 for the name `conv2`, and reduce and reduce_norm for `reduce`.
    """
    return {
        name: Conv2d(filters, kernel, stride=stride, padding=padding, groups=groups, bias=False),
        name_after(name, "norm"): BatchNorm(epsilon=epsilon),
    }


def conv_norm_relu(
    name: str,
    filters: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    epsilon: float = 1e-5,
) -> dict[str, Layer]:
    """Return a convolution, its batch normalization and a ReLU: conv2, norm2 and relu2 for the name `conv2`."""
    return {
        **conv_norm(name, filters, kernel, stride, padding, epsilon=epsilon),
        name_after(name, "relu"): ReLU(),
    }


def convolutions(n_convolutions: int, filters: int, norm: bool, bias: bool) -> dict[str, Layer]:
    """Return 3 x 3 convolutions that keep the size, each with ReLU and, if `norm`, batch normalization."""
    layers: dict[str, Layer] = {}
    for index in range(1, n_convolutions + 1):
        layers[f"conv{index}"] = Conv2d(filters, 3, padding=1, bias=bias)
        if norm:
            layers[f"norm{index}"] = BatchNorm()
        layers[f"relu{index}"] = ReLU()
    return layers


def residual(body: Layer) -> Parallel:
    """Return the sum of a layer's input and its output, which have the same shape (He et al. 2016, equation 1)."""
    return Parallel({"shortcut": Identity(), "body": body}, Add())


def name_after(name: str, kind: str) -> str:
    """Return the name of a layer that follows a convolution: norm2 after conv2, reduce_norm after reduce."""
    return name.replace("conv", kind, 1) if name.startswith("conv") else f"{name}_{kind}"


def average_head(classes: int, dropout: float = 0.0) -> dict[str, Layer]:
    """Return a head with global average pooling and `scores` (Lin, Chen and Yan 2014, section 3.2)."""
    dropout_layers: dict[str, Layer] = {"dropout": Dropout(dropout)} if dropout else {}
    return {
        "pool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
        **dropout_layers,
        "scores": Dense(classes, init_weight=LOGITS_INITIALIZER),
    }


def vgg_head(classes: int, size: int) -> dict[str, Layer]:
    """Return a head with adaptive average pooling to `size` x `size` and three dense layers, as in AlexNet and VGG."""
    return {"pool": AdaptiveAvgPool2d(size), **dense_head(classes, (4096, 4096), 0.5, dropout_last=True)}


def dense_head(classes: int, units: Sequence[int], dropout: float, dropout_last: bool = False) -> dict[str, Layer]:
    """Return a head with dense layers and ReLU over the flattened maps, and `scores`.

    units: the number of units of each dense layer before the scores. dropout: the probability before each of these
    layers, or after each ReLU if `dropout_last`; 0 for no Dropout layers.
    """
    head: dict[str, Layer] = {"flatten": Flatten()}
    for index, n_units in enumerate(units, start=1):
        dense_layers: dict[str, Layer] = {f"dense{index}": Dense(n_units), f"relu{index}": ReLU()}
        dropout_layers: dict[str, Layer] = {f"dropout{index}": Dropout(dropout)} if dropout else {}
        head |= {**dense_layers, **dropout_layers} if dropout_last else {**dropout_layers, **dense_layers}
    return {**head, "scores": Dense(classes, init_weight=LOGITS_INITIALIZER)}


def network(features: Mapping[str, Layer], head: Mapping[str, Layer]) -> Sequential:
    """Return a network with the children `features` and `head`, the structure of all classifiers of the zoo."""
    return Sequential(features=Sequential(**features), head=Sequential(**head))


def network_with_auxiliaries(
    features: Mapping[str, Layer], head: Mapping[str, Layer], auxiliaries: Mapping[str, tuple[str, Layer]]
) -> Sequential:
    """Return `network(features, head)` with auxiliary classifiers; it outputs (logits, logits of each classifier).

    auxiliaries: by name, the layer of `features` whose output the classifier receives, and the classifier. The paths of
    all other parameters are the same as in `network(features, head)`, so its weights files can be loaded.
    """
    auxiliary_sources = tuple(dict.fromkeys(source for source, _ in auxiliaries.values()))
    feature_nodes = chain(features, "input")
    head_nodes = chain(head, "maps")
    head_nodes |= {name: (classifier, source) for name, (source, classifier) in auxiliaries.items()}
    return Sequential(
        features=Graph(feature_nodes, (list(feature_nodes)[-1], *auxiliary_sources)),
        head=Graph(head_nodes, ("scores", *auxiliaries), ("maps", *auxiliary_sources)),
    )


def chain(layers: Mapping[str, Layer], first: str) -> dict[str, tuple[Layer, str]]:
    """Return layers in sequence as nodes of a Graph; the input of the first layer is the node `first`."""
    sources = (first, *layers)  # the last layer is no source
    return {name: (layer, source) for (name, layer), source in zip(layers.items(), sources, strict=False)}
