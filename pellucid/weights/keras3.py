"""The layout of Keras 3's `.weights.h5`: variables by number, below layers that are counted by their kind."""

import re

# What the variables of each kind of layer are called, in the order of their numbers.
_VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
# Norms without gamma or without beta, by how many variables they have. The file does not tell which of both is left.
_NORMS = {3: ("gamma_or_beta", "moving_mean", "moving_variance"), 2: ("moving_mean", "moving_variance")}
_PLACE = re.compile(rf"(?:.*/)?({'|'.join(_VARIABLES)})(?:_\d+)?/vars/(\d)")


def is_counted(path: str) -> bool:
    """Return whether a tensor stands where only its number in its layer tells what it is."""
    return _PLACE.fullmatch(path) is not None


def name_of(path: str, layer: str | None, count: int) -> str:
    """Return what Keras' other files call a tensor: "Conv1/Conv1/kernel" for "layers/conv2d/vars/0".

    `layer` is the name that the file gives to its group, `count` how many tensors that has. Without a word for the
    layer, as from the first versions of Keras 3, and of numbers that the layer's kind does not have, the path stays.
    The first tensor of a norm of three is "gamma_or_beta": a network whose norms do not scale, as those of
    Inception-v3, reads it as its beta, and every other one misses its gamma.
    """
    found = _PLACE.fullmatch(path)
    assert found is not None
    if not layer or not layer.isprintable():
        return path
    names = _VARIABLES[found[1]]
    if names[0] == "gamma" and count != len(names):
        names = _NORMS.get(count, ())
    number = int(found[2])
    return f"{layer}/{layer}/{names[number]}" if number < len(names) else path
