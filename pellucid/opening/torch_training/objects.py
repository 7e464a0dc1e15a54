"""The objects of a training in PyTorch beside the opened network: what is taken from them, and given back."""

import contextlib
import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from pellucid.base.errors import PellucidError
from pellucid.base.text import first_line, note, plural
from pellucid.combine.nets import all_buffers, named_layers
from pellucid.layers import Dropout
from pellucid.nested import flatten
from pellucid.opening.custom_backward import TOLERANCE
from pellucid.opening.exported import evaluating
from pellucid.opening.model import OpenedModel
from pellucid.opening.open_network import attentions_without_dropout
from pellucid.opening.torch_training.loaders import unconverted_error
from pellucid.opening.torch_training.optimizer import TorchOptimizer, TorchSource, without_parameters
from pellucid.opening.torch_training.scheduler import TorchSchedule, TorchScheduler
from pellucid.operators import Attention
from pellucid.training.callbacks import Training
from pellucid.verify.modules import frozen_names, module_gradients, names_without_gradient


@dataclass(frozen=True)
class LoopSettings:
    """What a loop in PyTorch does around the steps of its optimizer."""

    scheduler_unit: Literal["step", "epoch"]  # after each of them, the loop steps the scheduler
    clip_norm: float | None
    clip_value: float | None
    batches_per_step: int = 1  # of which a step adds the gradients


class TorchObjects:
    """A network of PyTorch, its optimizer and its scheduler or None, beside the model of the opened network.

    evaluating_paths: of the modules that are in evaluation mode while the network trains.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        model: OpenedModel,
        evaluating_paths: Collection[str],
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        _check_training_modes(network, model, evaluating_paths)
        optimized_ids = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self.evaluating_norms = _norms_in_evaluation(network, evaluating_paths, optimized_ids)
        # the paths in the graph, by key of the state_dict
        self.path_by_key = {key: model.path_by_tied_key.get(key, key) for key in model.dtypes}
        self.group_by_path = self._groups(model)
        model.frozen = self._frozen(model)
        self.without_gradient: set[str] = set()  # paths of parameters on which no output depends

    @property
    def is_begun(self) -> bool:
        """Whether the optimizer has made steps; some constructors make a state, with a count of 0."""
        return any(float(state.get("step", 1)) > 0 for state in self.optimizer.state.values())

    def check_gradients(self, model: OpenedModel, inputs: Tensor) -> None:
        """Raise PellucidError unless the gradients for these inputs equal PyTorch's.

        Parameters on which no output depends have no gradient in PyTorch, so they are not updated.
        """
        with evaluating(self.network):
            dys, _, expected = module_gradients(self.network, (inputs,))
            names = names_without_gradient(self.network, (inputs,))
            self.without_gradient = {self.path_by_key[name] for name in names}
            self.group_by_path |= dict.fromkeys(self.without_gradient)
            model.unregistered = model.unregistered - self.without_gradient
        output_gradients: Any = dys if len(dys) > 1 else next(iter(dys))
        gradients = model.gradients(inputs, output_gradients)
        largest = max((float(gradient.abs().max()) for gradient in expected.values()), default=0.0)
        for name, gradient in expected.items():
            own_gradient = gradients.get(self.path_by_key[name], torch.zeros_like(gradient))
            if not float((gradient - own_gradient).abs().max()) <= TOLERANCE[model.dtype] * largest:
                raise PellucidError(
                    f"from_torch: the gradient of {name} differs from PyTorch's, since the opened network computes "
                    "with a constant in its place; write that part of the network without it"
                )

    def take(self, model: OpenedModel, settings: LoopSettings) -> None:
        """Set the model's weights, optimizer and schedule to the present ones of PyTorch."""
        take_weights(self.network, model)
        parameters = {self.path_by_key[name]: parameter for name, parameter in self.network.named_parameters()}
        source = TorchSource(self.optimizer, self.group_by_path, parameters)
        if self.scheduler is None:
            rate = source.groups[0]["lr"]
        else:
            torch_scheduler = TorchScheduler(self.scheduler, self.optimizer, without_parameters(self.optimizer))
            rate = torch_scheduler.reference
            model.schedule = TorchSchedule(torch_scheduler, settings.scheduler_unit, settings.batches_per_step)
        if not rate:
            raise PellucidError("from_torch: the learning rate of the optimizer's first group is 0; give it a rate")
        model.clip = settings.clip_norm
        model.optimizer = TorchOptimizer(
            rate, source, settings.clip_value, source.weight_decay, source.momentum, source.eps
        )

    def give_back(self, training: Training) -> None:
        """Copy weights, statistics and the states of optimizer and scheduler of a training to PyTorch's objects."""
        model: Any = training.model
        weights = model.weights
        excluded = all_buffers(model.objective.nets) | model.frozen
        optimizer = model.optimizer.for_paths([path for path in flatten(model.params) if path not in excluded])
        states = optimizer.states(training.states[""])
        with torch.inference_mode(False), torch.no_grad():
            for key, tensor in self.network.state_dict().items():
                if self.path_by_key[key] in weights:
                    tensor.copy_(weights[self.path_by_key[key]])
            for name, parameter in self.network.named_parameters():
                state = states.get(self.path_by_key[name])
                if state is not None and self.group_by_path.get(self.path_by_key[name]) is not None:
                    self.optimizer.state[parameter] = {key: value.clone() for key, value in state.items()}
            self._count_batches(model, training.step)
        if isinstance(model.schedule, TorchSchedule):
            scheduler, scheduled_optimizer = model.schedule.after(training)
            self.scheduler.load_state_dict(copy.deepcopy(scheduler.state_dict()))
            for group, settings in zip(self.optimizer.param_groups, scheduled_optimizer.param_groups, strict=True):
                group.update({name: value for name, value in settings.items() if name != "params"})

    def _groups(self, model: OpenedModel) -> dict[str, int | None]:
        """Return the number of the group of each parameter, by path; None for those that are not updated."""
        group_by_parameter_id = {
            id(parameter): group_index
            for group_index, group in enumerate(self.optimizer.param_groups)
            for parameter in group["params"]
        }
        group_by_path: dict[str, int | None] = {}
        names_outside_groups: list[str] = []  # parameters with a gradient in PyTorch that the optimizer does not update
        frozen = set(frozen_names(self.network))
        for name, parameter in self.network.named_parameters():
            group_index = group_by_parameter_id.pop(id(parameter), None)
            group_by_path[self.path_by_key[name]] = None if name in frozen else group_index
            if group_index is None and name not in frozen:
                names_outside_groups.append(name)
        model.unregistered = model.unregistered & {self.path_by_key[name] for name in names_outside_groups}
        if group_by_parameter_id:
            raise PellucidError(
                f"from_torch: {plural(len(group_by_parameter_id), 'parameter')} of the optimizer are not the "
                "network's; give the optimizer of this network alone, made after its last layer was replaced"
            )
        if not any(group_index is not None for group_index in group_by_path.values()):
            raise PellucidError("from_torch: all parameters of the optimizer are frozen; unfreeze some")
        norms = {name for name, module in self.network.named_modules() if isinstance(module, _BatchNorm)}
        for path in sorted(model.unregistered) if model.clip is not None else ():
            if path.rpartition(".")[0] in norms - self.evaluating_norms:
                raise PellucidError(
                    f"from_torch: clip_norm: {path} is in a Python list, tuple or dict, so that PyTorch does not "
                    "register it, nor take it into the norm; put such layers into nn.ModuleList or nn.ModuleDict"
                )
        if model.clip is not None and len(names_outside_groups) > len(model.unregistered):
            raise PellucidError(
                "from_torch: clip_norm: parameters outside of the optimizer's groups take part in PyTorch's norm, and "
                f"their gradients grow from step to step ({names_outside_groups[0]}, ...); freeze them in the network"
            )
        untrained = [path for path, group_index in group_by_path.items() if group_index is None]
        if untrained:
            note(f"from_torch: {plural(len(untrained), 'parameter')} not trained, such as {untrained[0]}")
        return group_by_path

    def _frozen(self, model: OpenedModel) -> set[str]:
        """Return the paths that are frozen here: those that are not trained, but for norms whose statistics change.

        A frozen layer of this library runs in evaluation mode, a norm in PyTorch only if it was set to that.
        """
        norms = {path.rpartition(".")[0] for path in all_buffers(model.objective.nets)}
        frozen = {path for path, number in self.group_by_path.items() if number is None and path in model.weights}
        return {path for path in frozen if path.rpartition(".")[0] not in norms - self.evaluating_norms}

    def _count_batches(self, model: OpenedModel, steps: int) -> None:
        """Add the steps to the counts of batches of norms, which training mode counts at each call."""
        net: Any = model.net
        for name, module in self.network.named_modules():
            count = module.num_batches_tracked if isinstance(module, _BatchNorm) else None
            if isinstance(count, Tensor) and name not in self.evaluating_norms:
                calls = sum(node == name or node.startswith(f"{name}~") for node in net.nodes)
                count += steps * calls


def first_outputs(network: nn.Module, inputs: Tensor) -> Any:
    """Return the network's outputs in evaluation mode; raises PellucidError if it does not take a loader's inputs."""
    dtype = next(network.parameters()).dtype
    if inputs.dtype != dtype and inputs.dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.")
        raise PellucidError(
            f"from_torch: the loader yields inputs of {inputs.dtype}, and the network's parameters are {name}; give "
            f"the conversion: batch=lambda item: (item[0].to(torch.{name}), item[1])"
        )
    try:
        with evaluating(network), torch.no_grad():
            return network(inputs)
    except Exception as error:  # the module's own code may raise any error
        if not inputs.is_floating_point():
            raise unconverted_error(inputs.dtype) from error
        raise PellucidError(
            f"from_torch: the network does not take the loader's inputs of shape (N, "
            f"{', '.join(map(str, inputs.shape[1:]))}): {first_line(error):.200}; give what your loop does to them, as "
            "in batch=lambda item: (item[0].permute(0, 3, 1, 2), item[1])"
        ) from error


def note_dropout(model: OpenedModel) -> None:
    """Write a note if the network has dropout, whose masks are not PyTorch's."""
    if any(isinstance(layer, Dropout | Attention) and layer.rate for _, layer in named_layers(model.objective.nets)):
        note(
            "from_torch: dropout draws its masks here, so the training equals PyTorch's in distribution, not bit by bit"
        )


def take_weights(network: nn.Module, model: OpenedModel) -> None:
    """Copy the present weights and statistics of a network into the model that it was opened as."""
    weights = model.weights
    for key, tensor in network.state_dict().items():
        path = model.path_by_tied_key.get(key, key)
        if path in weights:
            weights[path].copy_(tensor)


def modules_in_evaluation(network: nn.Module) -> set[str]:
    """Return the paths of the modules that are in evaluation mode while a loop trains the network.

    These are in that mode after network.train(), which classes override to keep a pretrained part as it is, or now, if
    the network is in training mode; a note says so, since a loop may set them to training mode.
    """
    modules = dict(network.named_modules())
    given_modes = {path: module.training for path, module in modules.items()}
    network.train()
    paths = {path for path, module in modules.items() if not module.training}
    set_paths = [path for path, mode in given_modes.items() if given_modes[""] and not mode and path not in paths]
    if set_paths:
        note(f"from_torch: {set_paths[0]} stays in evaluation mode; after network.train() it would not in PyTorch")
    if not given_modes[""]:
        network.train(False)
    for path, module in modules.items():
        module.training = given_modes[path]
    return paths.union(set_paths)


@contextlib.contextmanager
def without_dropout(network: nn.Module, paths: Collection[str]) -> Iterator[None]:
    """Set the dropout of the modules at these paths to 0, and restore it at the end."""
    saved_rates = list[tuple[nn.Module, str, Any]]()
    for path in paths:
        module = network.get_submodule(path)
        name = "p" if isinstance(module, _DropoutNd) else "dropout"
        if isinstance(module, _DropoutNd | nn.MultiheadAttention | nn.RNNBase):
            saved_rates.append((module, name, getattr(module, name)))
            setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in saved_rates:
            setattr(module, name, rate)


def _check_training_modes(network: nn.Module, model: OpenedModel, evaluating_paths: Collection[str]) -> None:
    """Raise PellucidError for modules of PyTorch that are opened in another mode than a loop trains them in."""
    modules = dict(network.named_modules())
    for path, layer in named_layers(model.objective.nets):
        owner = path.partition("~")[0]
        while owner not in modules:
            owner = owner.rpartition(".")[0]
        if owner in evaluating_paths and isinstance(layer, Dropout | Attention) and layer.rate:
            raise PellucidError(
                f"from_torch: {owner or 'the network'} ({type(modules[owner]).__name__}) is in evaluation mode and "
                "calls dropout by a function, which would drop values here; make it a module, nn.Dropout"
            )
    missing_dropout = attentions_without_dropout(network, model)
    for name, module in modules.items():
        if name in evaluating_paths:
            continue
        is_recurrent = isinstance(module, nn.RNNBase) and module.num_layers > 1
        if (is_recurrent and module.dropout) or name in missing_dropout:
            raise PellucidError(
                f"from_torch: {name} ({type(module).__name__}) has dropout={module.dropout} inside, which training "
                "here does not have; set it to 0"
            )
        if isinstance(module, nn.AlphaDropout | nn.FeatureAlphaDropout) and module.p:
            kind = type(module).__name__
            raise PellucidError(f"from_torch: {name}: {kind} is not done here in training; set p=0, or take Dropout")
        has_norm = type(module).__name__ == "_SpectralNorm" or any(key.endswith("_u") for key in module._buffers)
        if isinstance(module, nn.RReLU) or has_norm:
            what = "RReLU draws its slopes" if isinstance(module, nn.RReLU) else "spectral_norm changes its vectors"
            raise PellucidError(f"from_torch: {name}: {what} in training, which is not done here")


def _norms_in_evaluation(
    network: nn.Module, evaluating_paths: Collection[str], optimized_ids: Collection[int]
) -> set[str]:
    """Return the names of batch norms that use and keep their running statistics while a loop trains the network.

    optimized_ids: of the optimizer's parameters. Raises PellucidError for norms that no training of this library has.
    """
    norms: set[str] = set()
    for name, module in network.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        if name in evaluating_paths:
            frozen = set(frozen_names(module))
            is_trained = any(name not in frozen and id(one) in optimized_ids for name, one in module.named_parameters())
            if is_trained or not module.affine:
                raise PellucidError(
                    f"from_torch: {name} ({type(module).__name__}) is in evaluation mode while the network trains, and "
                    "its weight and bias are not frozen, which training here does not have; freeze them, or set the "
                    "norm to training mode"
                )
            norms.add(name)
        elif module.momentum is None:
            raise PellucidError(
                f"from_torch: {name} averages its statistics over all batches (momentum=None), which training here "
                "does not; give it a momentum"
            )
    return norms
