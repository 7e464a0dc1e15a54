"""What replaces the attributes of PyTorch's modules that models and networks do not have."""

from collections.abc import Mapping

_WEIGHTS = "the weights are model.weights, a dict of tensors by path"
_DEVICE = 'choose the device with Model(net, device="cuda") or Model.load(file, device="cuda")'
_PRECISION = 'choose the precision with Model(net, precision="bf16"), "float32" or "float64"'
_MODE = "there is no mode to set: fit trains; predict, evaluate and model(x) do not"
_GRADIENTS = "fit computes the gradients; model.trace(x, y) returns them, and pellucid.backward computes them in a loop"
_LAYERS = 'the layers are model.layers and model["path"]'
_HOOKS = "model.trace(x, y) returns every tensor of both passes by name"

# Attributes of torch.nn.Module, of exporters and optimizers that are used like them, and of scikit-learn's classifiers.
MODEL_ANSWERS: dict[str, str] = {
    "parameters": _WEIGHTS,
    "named_parameters": _WEIGHTS,
    "buffers": _WEIGHTS,
    "named_buffers": _WEIGHTS,
    "state_dict": f"{_WEIGHTS}; model.save(file) writes them",
    "load_state_dict": "model.load_weights(file) reads a file; tensors are copied by model.weights[path].copy_(tensor)",
    "to": _DEVICE,
    "cuda": _DEVICE,
    "cpu": _DEVICE,
    "half": _PRECISION,
    "bfloat16": _PRECISION,
    "float": _PRECISION,
    "double": _PRECISION,
    "train": _MODE,
    "eval": _MODE,
    "training": _MODE,
    "zero_grad": _GRADIENTS,
    "backward": _GRADIENTS,
    "step": _GRADIENTS,
    "requires_grad_": 'model.freeze("features.*") freezes layers, and model.unfreeze() trains all of them',
    "forward": "call the model, model(x), or pellucid.forward for a network and its caches",
    "modules": _LAYERS,
    "named_modules": _LAYERS,
    "children": _LAYERS,
    "named_children": _LAYERS,
    "get_submodule": _LAYERS,
    "register_forward_hook": _HOOKS,
    "register_full_backward_hook": _HOOKS,
    "predict_proba": "model.predict(x) returns the probabilities of a classifier",
    "decision_function": "model(x) returns the network's outputs, before the softmax",
    "score": 'model.evaluate(x, y)["accuracy"] is the accuracy; pellucid.estimators have the methods of scikit-learn',
    "export": 'pellucid.export.to_onnx(model, "model.onnx") or pellucid.export.to_torch(model, "model_torch.py")',
}
_MODEL_FIRST = "a network has no weights: model = Model(net, input_shape=...) draws them; then "
# The same for networks and layers, without the names that they have: `children` is a field of Sequential.
NETWORK_ANSWERS: dict[str, str] = {
    name: f"{_MODEL_FIRST}{answer}"
    for name, answer in MODEL_ANSWERS.items()
    if name not in ("forward", "backward", "buffers", "children")
}


def missing_attribute(value: object, name: str, answers: Mapping[str, str]) -> AttributeError:
    """Return the AttributeError for an attribute that a value does not have, with what replaces it.

    For an attribute that its class has, a property raised an AttributeError, which is raised again.
    """
    if hasattr(type(value), name):
        object.__getattribute__(value, name)
    answer = f": {answers[name]}" if name in answers else ""
    message = f"{type(value).__name__!r} object has no attribute {name!r}{answer}"
    return AttributeError(message, name=name, obj=value)
