"""`pellucid.from_torch`: a training written in PyTorch, trained, diagnosed and given back by this library."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, integer
from pellucid.base.text import note, plural
from pellucid.explain.attributions import Attributions
from pellucid.model import Model
from pellucid.nested import map_tree
from pellucid.opening.model import OpenedModel
from pellucid.opening.open_network import open
from pellucid.opening.torch_training.loaders import (
    BatchFunction,
    LoaderBatches,
    joined_network,
    loader_and_samplers,
    restoring_random_states,
)
from pellucid.opening.torch_training.losses import TorchCriterion, check_shapes, training_loss
from pellucid.opening.torch_training.objects import (
    LoopSettings,
    TorchObjects,
    first_outputs,
    modules_in_evaluation,
    note_dropout,
    without_dropout,
)
from pellucid.opening.torch_training.optimizer import Accumulation, TorchOptimizer, check_optimizer
from pellucid.opening.torch_training.scheduler import TorchSchedule, check_scheduler, step_of
from pellucid.opening.torch_training.targets import structure_of
from pellucid.opening.torch_training.unregistered import with_registered_layers
from pellucid.optim import Optimizer
from pellucid.run.history import History
from pellucid.trace import Trace
from pellucid.training.arguments import checked_limit
from pellucid.training.callbacks import Callback, Training
from pellucid.verify.table import GradientTable

EXAMPLES = 8  # of the first batch that the loss is tried with, and that `verify`, `trace` and `explain` take


def from_torch(
    network: nn.Module,
    *,
    loss: Any,
    optimizer: torch.optim.Optimizer,
    train: Any,
    validation: Any = None,
    scheduler: Any = None,
    scheduler_step: Literal["auto", "batch", "epoch"] = "auto",
    clip_norm: float | None = None,
    clip_value: float | None = None,
    gradient_accumulation_steps: int = 1,
    scaler: Any = None,
    batch: BatchFunction | None = None,
    **options: Any,
) -> "TorchTraining":
    """Return a training that was written in PyTorch, as it stands: `fit`, `doctor`, `verify`, `trace`, `explain`.

    loss: a criterion such as nn.CrossEntropyLoss(weight=...), or its function; PyTorch computes others, of (outputs,
    targets), and their gradient with respect to the outputs, with a note. optimizer: of torch.optim, with its groups
    and its state. train, validation: DataLoaders. scheduler: of torch.optim.lr_scheduler, stepped after every epoch,
    with a note, or after every batch for OneCycleLR and CyclicLR, unless scheduler_step says otherwise, such as "batch"
    for a warm-up of steps; ReduceLROnPlateau is given the mean validation loss. clip_norm, clip_value: the limits that
    the loop gives clip_grad_norm_ and clip_grad_value_. gradient_accumulation_steps: the number of batches for a step,
    each with its loss divided by it; the last batches of an epoch make a step, however few. scaler: the loop's
    GradScaler, which must not be enabled. batch: a function from an item of a DataLoader to (inputs, targets), if the
    loop changes it, as in `lambda item: (item[0].flatten(1), item[1])`. It is called for each batch of `fit`, and
    before, here, for the first batch of each loader: set a generator of its own back after that. Targets may be a dict
    or tuple of tensors for a loss of your own, and None for one of the outputs alone. Items ((x1, x2), y) or (x1, x2,
    y) are of a network with two inputs; `model` takes them as one, (N, D). Inputs of whole numbers, such as tokens, are
    taken as the network takes them.
    options: those of `pellucid.open`, such as `classes`. seed: of the masks of dropout, by default drawn from PyTorch's
    generator, whose state does not change: torch.manual_seed before decides them.

    The gradients are those of the layers' own backward passes; the step is that of the optimizer's own class, and the
    learning rates are those of a copy of the scheduler. After `fit`, weights, statistics, the optimizer's state and the
    scheduler are given back, so that the loop in PyTorch continues as if it had never stopped. Masks of dropout are
    drawn by this library's generator, and go on from `fit` to `fit`: with active dropout, a training equals PyTorch's
    in distribution, not bit by bit, which a note says.

    Raises PellucidError, by name, for what is not equal here: losses that use weights, optimizers that are not of
    torch.optim, float16 with a GradScaler, layers whose modes differ; and if gradients differ from PyTorch's.
    """
    check_optimizer(optimizer)
    if scheduler is not None:
        check_scheduler(scheduler, optimizer)
    check(scheduler_step in ("auto", "batch", "epoch"), "from_torch: scheduler_step", "batch or epoch", scheduler_step)
    checked_limit(clip_value, "clip_value")
    batches_per_step = integer(gradient_accumulation_steps, "from_torch: gradient_accumulation_steps", 1)
    if scaler is not None and scaler.is_enabled():
        raise PellucidError(
            "from_torch: float16 with a GradScaler is not translated, since its scale decides which steps are left out;"
            " give the training without it (float32), or with precision='bf16', whose rounding differs from autocast"
        )
    arguments = inspect.signature(network.forward).parameters.values()
    n_inputs = sum(
        argument.kind <= argument.POSITIONAL_OR_KEYWORD and argument.default is argument.empty for argument in arguments
    )
    train_batches = LoaderBatches(train, batch, n_inputs)
    inputs, targets = train_batches.first_batch
    parameter = next(network.parameters(), None)
    if parameter is None:
        raise PellucidError("from_torch: the network has no parameters, so there is nothing to train")
    if train_batches.shapes is not None:
        note(f"from_torch: the network has {len(train_batches.shapes)} inputs, which `model` takes as one, (N, D)")
        network = joined_network(network, train_batches.shapes)
    device = parameter.device
    inputs = inputs.to(device)
    with restoring_random_states():
        unregistered_names = set[str]()
        if train_batches.shapes is None:
            network, unregistered_names = with_registered_layers(network, inputs[:2])
        outputs = first_outputs(network, inputs[:2])
        training_criterion = training_loss(loss, structure_of(outputs), train_batches.nested_targets)
        defaults = {
            "loss": training_criterion,
            "clip": clip_norm,
            "device": str(device),
            "seed": int(torch.randint(2**31, ())),
        }
        evaluating_paths = modules_in_evaluation(network)
        with without_dropout(network, evaluating_paths):
            model = open(network, inputs, **{**defaults, **options})
        check_shapes(training_criterion, model(inputs[:EXAMPLES]), targets[:EXAMPLES].to(device))
        if isinstance(training_criterion, TorchCriterion):
            training_criterion(model(inputs), targets.to(device))  # raises its errors before the training
        model.unregistered = {model.path_by_tied_key.get(name, name) for name in unregistered_names}
        objects = TorchObjects(network, optimizer, scheduler, model, evaluating_paths)
        objects.check_gradients(model, inputs[:2])
    note_dropout(model)
    scheduler_unit = step_of(scheduler) if scheduler_step == "auto" else scheduler_step
    validation_batches = None if validation is None else LoaderBatches(validation, batch, n_inputs)
    if validation_batches is not None and validation_batches.nested_targets != train_batches.nested_targets:
        raise PellucidError("from_torch: the targets of train and validation are not of one structure")
    if not inputs.is_floating_point():
        note("from_torch: inputs of whole numbers are taken as they are, as indices; `model` takes them, too")
        for loader_batches in (train_batches, validation_batches):
            if loader_batches is not None:
                loader_batches.convert_indices(model.dtype)
    settings = LoopSettings("step" if scheduler_unit == "batch" else "epoch", clip_norm, clip_value, batches_per_step)
    if train_batches.n_batches is not None and train_batches.n_batches % batches_per_step:
        remaining = plural(train_batches.n_batches % batches_per_step, "batch", "batches")
        note(f"from_torch: an epoch ends with a step of {remaining}, as Lightning's and Accelerate's do")
    return TorchTraining(model, objects, train_batches, validation_batches, settings)


class TorchTraining:
    """A training that was written in PyTorch; see `from_torch`.

    model: the opened network, for all other methods of Model. train, validation: the batches. history: of the last
    `fit`. The weights and states of PyTorch's objects are taken before each method, and given back by `fit`.
    """

    def __init__(
        self,
        model: OpenedModel,
        objects: TorchObjects,
        train: LoaderBatches,
        validation: LoaderBatches | None,
        settings: LoopSettings,
    ) -> None:
        self.model = model
        self.train = train
        self.validation = validation
        self.history: History | None = None
        self._objects = objects
        self._settings = settings
        self._finished_steps = 0  # of all calls of `fit`
        self._steps_before_run: dict[Path, int] = {}  # by run folder, the finished steps before its training
        self._take()
        self._initial = map_tree(torch.clone, model.params)
        self._is_begun = objects.is_begun
        self._initial_schedule = model.schedule

    def fit(self, epochs: int, *, callbacks: Sequence[Callback] = (), **options: Any) -> History:
        """Train for some epochs, give weights and states back to PyTorch's objects, and return the history.

        options: those of Model.fit, such as `run`, the run folder to write; `steps_per_epoch` is needed for a loader of
        unknown length. If the training is interrupted or fails, the state after the last step is given back.
        """
        if options.get("run") is not None and isinstance(self.model.loss, TorchCriterion):
            raise PellucidError(
                "from_torch: no run folder can contain a loss that PyTorch computes; leave out run, or write the loss "
                "as a pellucid.Loss (docs: your own parts)"
            )
        self._take()
        options.setdefault("steps_per_epoch", self.train.n_batches)
        self._accumulate(self.model, options["steps_per_epoch"])
        self.model.earlier_steps = self._steps_before(options.get("run"), options.get("resume", False))
        give_back = _GiveBack(self._objects)
        try:
            self.history = self.model.fit(
                self.train.epochs(),
                epochs=epochs,
                validation=None if self.validation is None else self.validation.epochs(),
                callbacks=[*callbacks, give_back],
                **options,
            )
        finally:
            self._finished_steps = self.model.earlier_steps + give_back.steps
        return self.history

    def doctor(self, **options: Any) -> Any:
        """Return the Diagnosis of the training, before its first step or after `fit`; options: as for Model.doctor."""
        self._take()
        model = copy.copy(self.model)
        self._accumulate(model, self.train.n_batches)
        optimizer = model.optimizer
        assert isinstance(optimizer, TorchOptimizer)
        # Short trainings begin at the first step: a schedule that has ended has no rate, and others have lowered it.
        model.schedule = self._initial_schedule
        if isinstance(model.schedule, TorchSchedule):
            optimizer = replace(optimizer, lr=model.schedule.source.reference)
        # a remedy, such as leaving out a detach, may give these a gradient
        model.optimizer = optimizer.before_first_step(model.frozen | self._objects.without_gradient)
        defaults = {
            "batch_size": len(self.train.first_batch[0]),
            "history": self.history,
            "resampled": any(getattr(part, "replacement", False) for part in loader_and_samplers(self.train.loader)),
        }
        if self.history is not None or not self._is_begun:  # otherwise PyTorch may have trained these weights
            defaults["begin"] = partial(self._before_the_first_step, model.optimizer)
        if self._has_several_outputs and self.validation is not None:
            note("doctor: the validation examples are left out, since the network has several outputs")
        elif self.validation is not None:
            defaults["validation"] = self.validation.epoch
        with restoring_random_states([self.train, self.validation]):
            defaults |= self.train.redrawn(self.validation)
            if "validation" in defaults and "validation" not in options and self.validation is not None:
                defaults |= self.validation.redrawn_validation()
        with restoring_random_states([self.train, self.validation]):
            return model.doctor(self.train.epoch, **{**defaults, **options})

    def verify(self, samples: int = 8) -> GradientTable:
        """Compare all gradients for examples of the first batch with independent ones; see Model.verify."""
        if any(self.model.index_inputs):
            raise PellucidError(
                "verify: the inputs are indices, to which no small number can be added; from_torch has compared the "
                "gradients of all parameters with PyTorch's"
            )
        self._take()
        x, y = self.train.first_batch
        with restoring_random_states():
            return self.model.verify(x[:EXAMPLES], y[:EXAMPLES], samples)

    def trace(self, **options: Any) -> Trace:
        """Return all tensors of one pass over examples of the first batch; see Model.trace."""
        self._take()
        x, y = self.train.first_batch
        return self.model.trace(x[:EXAMPLES], y[:EXAMPLES], **options)

    def explain(self, method: str = "saliency", target: Any = None, **options: Any) -> Attributions:
        """Return attributions for examples of the first validation batch, or training batch; see Model.explain."""
        self._take()
        loader = self.validation or self.train
        return self.model.explain(loader.first_batch[0][:EXAMPLES], method, target, **options)

    def __repr__(self) -> str:
        """Return the classes of network, optimizer and scheduler, and the model in one line."""
        objects = self._objects
        parts = (objects.network, objects.optimizer, objects.scheduler)
        names = ", ".join(type(part).__name__ for part in parts if part is not None)
        return f"<TorchTraining: {names}; {self.model!r}>"

    def _take(self) -> None:
        self._objects.take(self.model, self._settings)

    @property
    def _has_several_outputs(self) -> bool:
        return isinstance(self.model.loss, TorchCriterion) and self.model.loss.structure is not Tensor

    def _accumulate(self, model: OpenedModel, epoch_batches: int | None) -> None:
        """Set the model's optimizer to one that adds the gradients of several batches for a step."""
        if self._settings.batches_per_step == 1:
            return
        assert isinstance(model.optimizer, TorchOptimizer)
        accumulation = Accumulation(self._settings.batches_per_step, epoch_batches, self._settings.clip_norm)
        model.optimizer = replace(model.optimizer, accumulation=accumulation)
        model.clip = None  # of each batch

    def _steps_before(self, run: Any, resume: bool) -> int:
        """Return the finished steps before a training: for one that resumes a run, those before the run."""
        if run is None:
            return self._finished_steps
        folder = Path(run)
        if not resume or folder not in self._steps_before_run:
            self._steps_before_run[folder] = self._finished_steps
        return self._steps_before_run[folder]

    def _before_the_first_step(self, optimizer: Optimizer) -> Model:
        """Return the model before its first step, with this optimizer."""
        model = copy.copy(self.model)
        model.optimizer = optimizer
        model.schedule = self._initial_schedule
        model.params = map_tree(torch.clone, self._initial)
        return model


class _GiveBack(Callback):
    """Give the state after the last step back to PyTorch's objects, also if the training ends with an error."""

    def __init__(self, objects: TorchObjects) -> None:
        self.objects = objects
        self.training: Training | None = None

    @property
    def steps(self) -> int:
        """The number of finished steps."""
        return 0 if self.training is None else self.training.step

    def on_start(self, training: Training) -> None:
        """Store the training."""
        self.training = training

    def on_close(self) -> None:
        """Give back."""
        training = self.training
        if training is not None:
            self.objects.give_back(training)
