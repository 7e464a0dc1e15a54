"""The multilayer perceptron."""

from collections.abc import Sequence

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.combine import Sequential
from pellucid.layers import (
    ELU,
    GELU,
    Dense,
    Dropout,
    Flatten,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    Softmax,
    Tanh,
)
from pellucid.layers.base import Layer
from pellucid.models.parts import network

ACTIVATIONS: dict[str, type[Layer]] = {
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "leakyrelu": LeakyReLU,
    "relu6": ReLU6,
    "elu": ELU,
    "gelu": GELU,
}
OUTPUT_ACTIVATIONS: dict[str, type[Layer] | None] = {
    "none": None,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softmax": Softmax,
    "log_softmax": LogSoftmax,
}


def mlp(
    sizes: Sequence[int],
    activation: str = "sigmoid",
    output: str = "none",
    dropout: float = 0.0,
    init_weight: str = "scaled",
    init_bias: str = "zeros",
) -> Sequential:
    """Return a network of fully connected layers: `mlp((784, 30, 10))` is the network 784-30-10.

    sizes: the number of inputs, of neurons in each hidden layer, and of outputs, as in Nielsen 2015, chapter 1;
    images are flattened, so sizes[0] is their channels x height x width. activation: the activation after each hidden
    layer, one of sigmoid, tanh, relu, leakyrelu, relu6, elu, gelu. output: the activation after the last layer, one of
    sigmoid, tanh, softmax, log_softmax; with "none" the network outputs logits, for a loss that applies the activation.
    dropout: the probability after each hidden layer. init_weight, init_bias: one of zeros, normal, scaled, xavier, he,
    lecun, gan, orthogonal, dirac. Paths: features.dense1, features.sigmoid1, ..., head.scores.
    Raises PellucidError for invalid names and sizes.
    """
    if len(sizes) < 2:
        raise PellucidError(
            f"mlp: sizes={list(sizes)} has no layer; give the sizes of inputs, hidden layers and outputs"
        )
    if type(sizes[0]) is not int or sizes[0] < 1:
        raise PellucidError(f"mlp: the number of inputs must be a whole number of at least 1, not {sizes[0]!r}")
    check_known("mlp: no activation", activation, ACTIVATIONS)
    check_known("mlp: no output", output, OUTPUT_ACTIVATIONS)
    features: dict[str, Layer] = {"flatten": Flatten()}
    for index, units in enumerate(sizes[1:-1], start=1):
        features[f"dense{index}"] = Dense(units, init_weight=init_weight, init_bias=init_bias)
        features[f"{activation}{index}"] = ACTIVATIONS[activation]()
        if dropout:
            features[f"dropout{index}"] = Dropout(dropout)
    head: dict[str, Layer] = {"scores": Dense(sizes[-1], init_weight=init_weight, init_bias=init_bias)}
    output_type = OUTPUT_ACTIVATIONS[output]
    if output_type is not None:
        head["output"] = output_type()
    return network(features, head)
