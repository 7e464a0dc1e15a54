"""Keras Applications' networks with random weights, run in a separate process that answers requests.

Keras chooses its backend when it is imported. Here it is PyTorch, which differentiates Keras' functions. The process
that sends the requests does not import Keras. Run as a module, it reads one request in each line of standard input,
separated by tabs: the name of a network, the side of its images in pixels, and the file to write.
"""

import sys
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from conformance.networks.answer import images, random_weight
from pellucid.verify import pull_back

BATCH = 2


def answer(name: str, side: int, file: str) -> None:
    """Write weights, inputs, logits and gradients of a network to a safetensors file.

    The names begin with the kind of tensor: "weights conv1/kernel".
    """
    import keras
    from keras import applications
    from keras.src.backend.common import dtypes

    # Unless this entry is changed, Keras computes in float32 instead of float64 with backends other than TensorFlow.
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    rng = torch.Generator().manual_seed(0)
    make_model: Any = getattr(applications, name)
    models: dict[str, Any] = {}
    for dtype in ("float64", "float32"):
        keras.config.set_floatx(dtype)
        keras.backend.clear_session()  # without it, the variables of the second model have other names
        models[dtype] = make_model(weights=None, input_shape=(side, side, 3), classifier_activation=None)
    model, float32_model = models["float64"], models["float32"]
    weights = {variable.path: random_weight(*_shape_name_fan_in(variable), rng) for variable in model.variables}
    for keras_model in (model, float32_model):
        for variable in keras_model.variables:
            variable.assign(weights[variable.path].numpy())
        for layer in keras_model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0  # running statistics become those of the batch
    x = images(BATCH, side, rng)
    dy = torch.randn(BATCH, int(model.output_shape[1]), generator=rng, dtype=torch.float64)
    result = {f"weights {_file_name(model, path)}": value for path, value in weights.items()}
    with torch.no_grad():
        result |= {"x": x, "dy": dy, "single": float32_model(_channels_last(x.float()), training=False)}
    for train in (False, True) if model.non_trainable_variables else (False,):  # non-trainable: running statistics
        for part, tensors in _pass_tensors(model, x, dy, train).items():
            for inner, value in tensors.items():
                result[f"{'training' if train else 'evaluation'} {part} {inner}"] = value
        for variable in model.non_trainable_variables if train else ():
            result[f"training statistics {_file_name(model, variable.path)}"] = variable.value
    save_file({key: value.detach().contiguous() for key, value in result.items()}, file)


def _pass_tensors(model: Any, x: Tensor, dy: Tensor, train: bool) -> dict[str, dict[str, Tensor]]:
    """Return the logits and the gradients of one pass: by kind of tensor, then by name."""
    logits: list[Tensor] = []

    def run() -> Tensor:
        logits.append(model(_channels_last(x), training=train))
        return logits[-1]

    variables = model.trainable_variables
    dx, *dweights = pull_back(run, [x, *(variable.value for variable in variables)], dy)
    weight_gradients = {
        _file_name(model, entry.path): dweight for entry, dweight in zip(variables, dweights, strict=True)
    }
    return {"logits": {"": logits[0]}, "dx": {"": dx}, "dweights": weight_gradients}


def _shape_name_fan_in(variable: Any) -> tuple[tuple[int, ...], str, int]:
    """Return a variable's shape, its path, and the number of inputs of each of its outputs."""
    shape = tuple(variable.shape)
    depthwise = "depthwise" in variable.path
    inputs = shape[:2] if depthwise else shape[:-1]
    return shape, variable.path, int(torch.Size(inputs).numel())


def _file_name(model: Any, path: str) -> str:
    """Return the name of a variable in Keras' HDF5 files: the layer's name, then the variable's path."""
    return f"{path.rpartition('/')[0]}/{path}"


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)  # (N, H, W, C)


if __name__ == "__main__":
    for line in sys.stdin:
        network_name, size, target = line.rstrip("\n").split("\t")
        answer(network_name, int(size), target)
        sys.stdout.write("done\n")
        sys.stdout.flush()
