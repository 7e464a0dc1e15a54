"""One module of PyTorch's ModuleInfo database, and how it becomes a layer or loss of ours."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from conformance.trial import AS_IS, Ours, Trial, View
from pellucid.layers import Cache, Layer, Mode, Params


@dataclass(frozen=True)
class Module:
    """An entry of `torch.testing._internal.common_modules.module_db`.

    `adapt(module, *inputs)` takes a module that PyTorch built from one sample, and what the sample gives to its
    forward; it returns the trial, or raises SkipCase with the option's name. `subject` is our class.
    """

    name: str
    subject: Any
    adapt: Callable[..., Trial]


def nothing(cache: Cache) -> tuple[Tensor, ...]:
    """Return no further outputs."""
    return ()


@dataclass(frozen=True)
class Twin:
    """A module in our terms.

    `view` lifts its input, and `kernel` its weight, to the shapes of ours. `fixed` are params of ours that the
    module does without, such as a scale of 1: no gradient is compared for them. `mode` is the module's own unless
    given. `further` reads from the cache what the module returns beside its output.
    """

    layer: Layer
    view: View = AS_IS
    kernel: View = AS_IS
    fixed: Params = field(default_factory=dict)
    mode: Mode | None = None
    further: Callable[[Cache], tuple[Tensor, ...]] = nothing


def layer(name: str, subject: type[Layer], convert: Callable[[Any, Tensor], Twin]) -> Module:
    """Return the entry of a module that is a layer; `convert` takes the module and its input."""
    return Module(name, subject, partial(module_trial, convert))


def module_trial(convert: Callable[[Any, Tensor], Twin], module: Any, input: Tensor) -> Trial:
    """Return the trial of a module with one input: its output, its gradients and its running statistics."""
    if any(map(is_lazy, module.parameters())):
        module(input)  # takes its shape from the first input, and is a plain module from then on
    x, twin = input, convert(module, input)
    learned = unbind(module)
    start = {name: buffer.clone() for name, buffer in module.named_buffers()}
    statistics = [name for name in twin.layer.buffers if name in start]
    params = {name: _through(twin.kernel.lift, name, tensor).clone() for name, tensor in learned.items()}

    def theirs() -> tuple[Tensor, ...]:
        for name, buffer in start.items():
            setattr(module, name, buffer.clone())
        y = module(x)
        outputs = y if isinstance(y, tuple) else (y,)
        return *outputs, *(getattr(module, name) for name in statistics)

    def ours() -> Ours:
        own = {name: tensor.clone() for name, tensor in (params | twin.fixed | start).items()}
        y, cache = twin.layer.forward(own, twin.view.lift(x), twin.mode or Mode(train=module.training))

        def pull(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = twin.layer.backward(own, cache, twin.view.lift(dy))
            wanted = {name: dparams[name] for name in dparams if name not in twin.fixed}
            return {"x": twin.view.drop(dx)} | {k: _through(twin.kernel.drop, k, v) for k, v in wanted.items()}

        outputs = (y, *twin.further(cache))
        return Ours((*map(twin.view.drop, outputs), *(own[name] for name in statistics)), pull)

    return Trial({"x": x, **learned}, theirs, ours)


def unbind(module: nn.Module) -> dict[str, Tensor]:
    """Make the parameters of a module plain tensors, which the module goes on to read, and return them by name."""
    learned = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for name, tensor in learned.items():
        delattr(module, name)
        setattr(module, name, tensor)
    return learned


def _through(change: Callable[[Tensor], Tensor], name: str, tensor: Tensor) -> Tensor:
    return change(tensor) if name == "weight" else tensor
