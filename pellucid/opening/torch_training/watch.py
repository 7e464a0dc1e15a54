"""`pellucid.watch`: record a training in a loop of somebody else, by hooks that only look."""

import copy
import inspect
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.text import note
from pellucid.opening.model import OpenedModel
from pellucid.opening.open_network import open
from pellucid.opening.torch_training.loaders import restoring_random_states
from pellucid.opening.torch_training.losses import loss_of
from pellucid.opening.torch_training.objects import take_weights
from pellucid.run.folder import RunFolder
from pellucid.run.history import History, Row, write_csv
from pellucid.training.diagnose import NotFinite, StoppedError

EXAMPLES = 2  # of the first batch, with which the network is opened


def watch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    folder: str | os.PathLike[str],
    loss: nn.Module | None = None,
    every: int = 50,
) -> "Watch":
    """Record a training from one line before its loop, in plain PyTorch, Lightning or any trainer; return the Watch.

    At the first step and every `every` steps the run folder gets a row of metrics.csv (step, learning rate, and with
    `loss`, the criterion as a module, the mean losses since the last row: train_loss in training mode, val_loss in
    evaluation mode), of layers.csv (norm of the gradient and size of the update of each parameter) and of
    activations.csv (mean, standard deviation and share of zeros of each layer's output), and the weights, if the
    network can be opened: `pellucid doctor FOLDER --data DATA` and `pellucid studio FOLDER` read them, and
    `History.read(FOLDER).plot()` draws the rows. The first NaN or infinity is written to error.json, with its layer.

    The hooks change nothing: weights, gradients, modes and random numbers of the training are those without them. But
    they cost time in every step, whatever `every` is: each layer's output and each gradient is read once more for NaN,
    and on a GPU the answer is awaited. `close` the Watch after the loop to write what came after the last row.
    Raises PellucidError for a folder that has a training already.
    """
    if not isinstance(network, nn.Module) or not isinstance(optimizer, torch.optim.Optimizer):
        raise PellucidError("watch: give the network, an nn.Module, and its optimizer, of torch.optim")
    if loss is not None and not isinstance(loss, nn.Module):
        raise PellucidError(
            "watch: loss must be a module, such as nn.CrossEntropyLoss(), that the loop calls; a function has no hooks"
        )
    run = RunFolder(folder)
    if run.metrics.exists() or run.has_checkpoint:
        raise PellucidError(f"watch: {run.path} has a training already; give another folder")
    return Watch(network, optimizer, run, loss, integer(every, "watch: every", 1))


class Watch:
    """The record of a training; see `watch`. history: its rows so far. `close` writes the rest, and removes hooks."""

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, run: RunFolder, loss: nn.Module | None, every: int
    ) -> None:
        self.history = History()
        self.fault: StoppedError | None = None
        self._network = network
        self._criterion = loss
        self._optimizer = optimizer
        self._run = run
        self._every = every
        self._step = 0  # finished steps
        self._n_examples = 0  # seen in training mode since the last row
        self._last_row_time = time.perf_counter()
        self._losses: dict[str, list[float]] = {"train_loss": [], "val_loss": []}
        self._output_statistics: dict[str, Row] = {}
        self._activations: list[Row] = []
        self._params_before: dict[str, Tensor] = {}  # the parameters before the step that is recorded
        self._example: Any = None
        self._network_copy = self._copy_of(network)  # without the hooks, which the export would otherwise see
        self._model: OpenedModel | None = None
        (run.path / "weights").mkdir(parents=True, exist_ok=True)
        self._handles: list[Any] = [
            network.register_forward_pre_hook(self._look_at_input, with_kwargs=True),
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        for path, module in network.named_modules():
            if not any(True for _ in module.children()):
                self._handles.append(module.register_forward_hook(self._hook_for(path, module)))
        if loss is not None:
            self._handles.append(loss.register_forward_hook(self._look_at_loss))

    def close(self) -> None:
        """Remove the hooks, and write the steps and losses since the last row; the files stay."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        rows = self.history.rows
        if rows and self._step > rows[-1]["step"]:
            self._add_row()
        elif rows and self._losses["val_loss"]:  # of the validation after the last step
            self.history.add({**rows.pop(), "val_loss": self._mean_losses()["val_loss"]})
            write_csv(self._run.metrics, rows)
            self._losses["val_loss"] = []

    def __deepcopy__(self, memo: Any) -> "Watch":
        """Return the same record: copies of the network, which have its hooks, are not recorded."""
        return self

    def _copy_of(self, network: nn.Module) -> nn.Module | None:
        """Return a copy of the network, to be opened; None, with a note, if it cannot be copied."""
        try:
            return copy.deepcopy(network).cpu()
        except Exception as error:  # such as of a weight that weight_norm has computed
            reason = " ".join(str(error).split())
            note(f"watch: {self._run.path} gets no weights, since the network cannot be copied: {reason}")
            return None

    @property
    def _is_recorded(self) -> bool:
        """Whether the present step has a row."""
        return self._step % self._every == 0

    def _look_at_input(self, module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if module is not self._network or not module.training:
            return
        if keywords:  # inputs by name, in the order of the network's arguments
            inputs = inspect.signature(module.forward).bind(*inputs, **keywords).args
        if inputs and isinstance(inputs[0], Tensor):
            self._n_examples += len(inputs[0])
            if self._example is None:
                self._example = inputs[0][:EXAMPLES].detach().cpu().clone()

    def _hook_for(self, path: str, watched: nn.Module) -> Callable[[nn.Module, Any, Any], None]:
        def look_at_output(module: nn.Module, inputs: Any, output: Any) -> None:
            if module is not watched:  # a copy
                return
            if not self._network.training or not isinstance(output, Tensor) or not output.is_floating_point():
                return
            y = output.detach()
            self._check(y, "output", path, module)
            if self._is_recorded:
                values = {"mean": y.mean(), "std": y.std(correction=0), "zeros": (y == 0).double().mean()}
                self._output_statistics[path] = {name: _number(value) for name, value in values.items()}

        return look_at_output

    def _look_at_loss(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.numel() != 1:
            return
        value = output.detach()
        self._losses["train_loss" if self._network.training else "val_loss"].append(float(value))
        if self._network.training:
            self._check(value, "loss", "", module)

    def _before_step(self, optimizer: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Check the gradients, and copy the parameters if the step is recorded."""
        if not _has_closure(inputs, keywords):
            self._check_gradients()
        if self._is_recorded:
            self._params_before = {
                path: parameter.detach().clone() for path, parameter in self._network.named_parameters()
            }

    def _after_step(self, optimizer: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if _has_closure(inputs, keywords):
            self._check_gradients()
        self._step += 1
        if self._params_before:
            self._add_row()
            self._params_before = {}

    def _check_gradients(self) -> None:
        # the backward pass goes from the last layer to the first, so the last NaN is where it began
        for path, parameter in reversed(dict(self._network.named_parameters()).items()):
            if parameter.grad is not None:
                self._check(parameter.grad, "gradient", path, None)

    def _mean_losses(self) -> Row:
        """Return the means of the losses since the last row, None where one is not finite."""
        means = {name: sum(values) / len(values) for name, values in self._losses.items() if values}
        return {name: value if math.isfinite(value) else None for name, value in means.items()}

    def _add_row(self) -> None:
        """Write the files, with the rows of the step that has just been made."""
        now = time.perf_counter()
        row_number = len(self.history.rows) + 1
        seconds = now - self._last_row_time
        row = {
            "epoch": row_number,
            "step": self._step,
            "lr": float(self._optimizer.param_groups[0]["lr"]),
            "train_loss": None,
            **self._mean_losses(),
            "seconds": round(seconds, 6),
            "images_per_second": round(self._n_examples / max(seconds, 1e-9), 1),
        }
        self.history.add(row)
        for path, parameter in self._network.named_parameters():
            if parameter.grad is not None and path in self._params_before:
                param_before = self._params_before[path]
                norm_before = _number(param_before.norm())
                update = _number((parameter.detach() - param_before).norm())
                ratio = update / norm_before if norm_before and update is not None else None
                norm = _number(parameter.grad.norm())
                self.history.layers.append(
                    {"epoch": row_number, "path": path, "grad_norm": norm, "update_ratio": ratio}
                )
        self._activations += [
            {"epoch": row_number, "path": path, **values} for path, values in self._output_statistics.items()
        ]
        write_csv(self._run.metrics, self.history.rows)
        write_csv(self._run.layers, self.history.layers)
        write_csv(self._run.path / "activations.csv", self._activations)
        self._write_weights()
        self._losses = {name: [] for name in self._losses}
        self._output_statistics = {}
        self._n_examples = 0
        self._last_row_time = time.perf_counter()  # writing does not count

    def _write_weights(self) -> None:
        """Write the weights as a model of this library, if the network can be opened."""
        if self._network_copy is not None and self._example is None:
            note(f"watch: {self._run.path} gets no weights, since the network's first argument was never a tensor")
            self._network_copy = None
        if self._network_copy is not None:
            options: dict[str, Any] = {}  # the default loss follows from the network's end
            with suppress(PellucidError):  # of a criterion without a counterpart
                options = {} if self._criterion is None else {"loss": loss_of(self._criterion)}
            try:
                with restoring_random_states():
                    self._model = open(self._network_copy, self._example, **options)
            except PellucidError as error:
                note(f"watch: {self._run.path} gets no weights, since the network cannot be opened: {error}")
            self._network_copy = None
        if self._model is not None and self.fault is None:  # the last weights before a NaN stay
            take_weights(self._network, self._model)
            self._model.save(self._run.last)

    def _check(self, value: Tensor, kind: Any, path: str, module: nn.Module | None) -> None:
        """Write the first tensor that is not finite to error.json, and say it; the training goes on."""
        if self.fault is not None or bool(value.isfinite().all()):
            return
        layer = "" if module is None else type(module).__name__
        tensor = {"output": "the output y", "loss": "the loss", "gradient": "the gradient"}[kind]
        fault = NotFinite.of(value, kind, tensor, path, layer)
        weights = {} if module is None else dict(module.named_parameters())
        for name, weight in weights.items():
            weight_fault = NotFinite.of(weight.detach(), "weight", name, path, layer)
            fault = weight_fault or fault  # a weight that is not finite came before the output
        if fault is not None:
            self.fault = StoppedError(f"watch: step {self._step + 1}: {fault}", self._step + 1, fault)
            self.fault.write(self._run.error)
            note(str(self.fault))


def _has_closure(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Return whether `optimizer.step` computes the gradients itself, by a function."""
    return any(callable(value) for value in (*inputs, *keywords.values()))


def _number(value: Tensor) -> float | None:
    """Return a value as a number, None if it is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None
