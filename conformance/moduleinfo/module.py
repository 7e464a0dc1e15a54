"""One module of PyTorch's ModuleInfo database, and its conversion to a layer or loss of ours."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from conformance.trial import AS_IS, ForwardPass, Trial, View
from pellucid.layers import Cache, Layer, Mode, Params


@dataclass(frozen=True)
class Module:
    """An entry of `torch.testing._internal.common_modules.module_db`.

    `adapt(module, *inputs)` takes a module that PyTorch built from one sample, and the sample's arguments of its
    `forward`. It returns the trial, or raises SkipCase with the name of an option that we do not have. `subject` is
    our class.
    """

    name: str
    subject: Any
    adapt: Callable[..., Trial]


def no_further_outputs(cache: Cache) -> tuple[Tensor, ...]:
    """Return (), for modules whose only output is y."""
    return ()


@dataclass(frozen=True)
class ConvertedModule:
    """The layer of ours that is equivalent to a PyTorch module.

    `view` converts the module's input, and `kernel` its weight, to our shapes. `constant_params` are parameters of our
    layer that the module does not have, such as a scale of 1; their gradients are not compared. `mode` replaces the
    module's own mode. `further_outputs` returns, from our cache, the module's outputs after the first.
    """

    layer: Layer
    view: View = AS_IS
    kernel: View = AS_IS
    constant_params: Params = field(default_factory=dict)
    mode: Mode | None = None
    further_outputs: Callable[[Cache], tuple[Tensor, ...]] = no_further_outputs


def layer_module(name: str, subject: type[Layer], convert: Callable[[Any, Tensor], ConvertedModule]) -> Module:
    """Return the entry of a module that becomes a layer by `convert`, a function of the module and its input."""
    return Module(name, subject, partial(module_trial, convert))


def module_trial(convert: Callable[[Any, Tensor], ConvertedModule], module: Any, input: Tensor) -> Trial:
    """Return the trial of a module with one input: its output, its gradients and its running statistics."""
    if any(map(is_lazy, module.parameters())):
        module(input)  # the first call creates the parameters, and turns a lazy module into a plain one
    x, converted = input, convert(module, input)
    parameters = unbind(module)
    initial_buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    statistics = [name for name in converted.layer.buffers if name in initial_buffers]
    params = {
        name: _apply_to_weight(converted.kernel.lift, name, tensor).clone() for name, tensor in parameters.items()
    }

    def reference() -> tuple[Tensor, ...]:
        for name, buffer in initial_buffers.items():
            setattr(module, name, buffer.clone())
        y = module(x)
        outputs = y if isinstance(y, tuple) else (y,)
        return *outputs, *(getattr(module, name) for name in statistics)

    def forward() -> ForwardPass:
        own_params = {
            name: tensor.clone() for name, tensor in (params | converted.constant_params | initial_buffers).items()
        }
        y, cache = converted.layer.forward(
            own_params, converted.view.lift(x), converted.mode or Mode(train=module.training)
        )

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = converted.layer.backward(own_params, cache, converted.view.lift(dy))
            compared = {name: dparams[name] for name in dparams if name not in converted.constant_params}
            return {"x": converted.view.drop(dx)} | {
                k: _apply_to_weight(converted.kernel.drop, k, v) for k, v in compared.items()
            }

        outputs = (y, *converted.further_outputs(cache))
        return ForwardPass((*map(converted.view.drop, outputs), *(own_params[name] for name in statistics)), backward)

    return Trial({"x": x, **parameters}, reference, forward)


def unbind(module: nn.Module) -> dict[str, Tensor]:
    """Replace the parameters of a module by plain tensors, which the module then uses, and return them by name."""
    parameters = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for name, tensor in parameters.items():
        delattr(module, name)
        setattr(module, name, tensor)
    return parameters


def _apply_to_weight(change: Callable[[Tensor], Tensor], name: str, tensor: Tensor) -> Tensor:
    return change(tensor) if name == "weight" else tensor
