"""The base class of Model: a network with its weights, training, prediction and files."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import checked
from pellucid.base.settings.checks import instance, integer
from pellucid.calibration.confidence import Confidence
from pellucid.calibration.familiarity import Familiarity, named_tensors
from pellucid.data import Arrays, Source
from pellucid.data.stream import Stream
from pellucid.extend.config import metrics_to_config, note_unsaved
from pellucid.layers.base import Layer, Params
from pellucid.losses import Loss
from pellucid.metrics import MetricLike
from pellucid.metrics.base import concatenate_batches
from pellucid.models import replace_head
from pellucid.nested import flatten, map_tree
from pellucid.network.ending import check_axes, check_classes, check_ending
from pellucid.network.inputs import FreeShape, free_output_shape, nominal_shape, note_undivided
from pellucid.objective import Objective, Supervised
from pellucid.optim import MaxNorm, Optimizer, Regularizer, Schedule
from pellucid.optim.schedules import Constant
from pellucid.run.described import feature_stats, float16_to_float32, image_shape, rebuild_model, to_precision
from pellucid.run.folder import weights_file
from pellucid.run.history import History
from pellucid.run.weights import nest_like, read_weights, write_weights
from pellucid.shipped_files import is_shipped
from pellucid.training.arguments import (
    DEFAULT_LOSS,
    check_weights_suffix,
    checked_average,
    checked_limit,
    checked_optimizers,
    checked_regularizers,
    class_names,
    objective_of,
    output_path,
)
from pellucid.training.averaging import WeightAverage
from pellucid.training.callbacks import Callback
from pellucid.training.device import CPU, on_device, usable_device, usable_precision
from pellucid.training.evaluate import batch_within_memory, evaluate
from pellucid.training.examples import checked_source, first_batch, inputs_of, source_of, training_and_validation
from pellucid.training.loop import Loop
from pellucid.training.measures import check_metrics, default_metrics
from pellucid.training.options import FitOptions
from pellucid.training.parameter_groups import Trainable
from pellucid.training.plan import preparing_plan
from pellucid.training.predicting import Predicting
from pellucid.training.range_test import DEFAULT_STEPS, HIGHEST_RATE, LOWEST_RATE, LearningRateRange, range_test
from pellucid.training.reducer import BUCKET_MB
from pellucid.training.split_note import note_split_differences
from pellucid.training.step import channels_last
from pellucid.training.user_defined import parts_for_files


class BaseModel(Trainable, Predicting):
    """Model without verify, trace, explain and doctor: weights, training, prediction and files; see pellucid.Model."""

    def __init__(
        self,
        net: Layer | Objective,
        loss: str | Loss = DEFAULT_LOSS,
        optimizer: str | Optimizer | Mapping[str, str | Optimizer] = "adam",
        metrics: MetricLike | Sequence[MetricLike] | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        classes: int | Sequence[str] | None = None,
        seed: int = 0,
        regularizer: Regularizer | MaxNorm | Sequence[Regularizer | MaxNorm] | None = None,
        schedule: Schedule | None = None,
        clip: float | None = None,
        average: WeightAverage | None = None,
        precision: str = "float32",
        preprocess: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self._set_objective(net, loss, optimizer, metrics)
        self.device = usable_device(device)
        self.custom: tuple[Any, ...] = ()  # the user-defined classes with which this model was loaded
        self.schedule: Schedule = instance(Constant() if schedule is None else schedule, Schedule, "schedule")
        self.regularizers = checked_regularizers(regularizer)
        self.clip = checked_limit(clip, "clip")
        self.average: WeightAverage | None = checked_average(average, "average")
        usable_precision(precision, self.device)
        self.precision = precision
        self.seed = integer(seed, "seed", 0)
        self.earlier_steps = 0
        self.classes = class_names(classes)
        self.preprocess = dict(preprocess or {})
        self.stats = feature_stats(self.preprocess)
        self.frozen = set()
        self.rates = {}
        self.confidence: Confidence | None = None  # the calibration, after it is fitted
        self.familiarity: Familiarity | None = None  # the features of the training data, after they are fitted
        self.params: Params = {}
        self.input_shape: FreeShape = ()
        self.source: Path | None = None  # the file that the weights were loaded from
        self.output_shape: Any = ()
        if input_shape is not None:
            self.build(input_shape)

    def _set_objective(self, net: Any, loss: Any, optimizer: Any, metrics: Any) -> None:
        objective = objective_of(net, loss)
        first, by_network = checked_optimizers(optimizer, objective)
        defaults = objective.loss.metrics if isinstance(objective, Supervised) else ()
        checked_metrics = check_metrics(defaults if metrics is None else metrics)
        if isinstance(objective, Supervised):
            check_ending(objective.net, objective.loss)
        self.objective = objective
        self.optimizer = first
        self.optimizers = by_network
        self.metrics = checked_metrics
        self._default_metrics = metrics is None

    @checked
    def compile(
        self,
        optimizer: str | Optimizer | Mapping[str, str | Optimizer] = "adam",
        loss: str | Loss = DEFAULT_LOSS,
        metrics: MetricLike | Sequence[MetricLike] | None = None,
    ) -> None:
        """Set optimizer, loss and metrics, like `compile` in Keras; the weights are unchanged."""
        self._set_objective(
            self.net if isinstance(self.objective, Supervised) else self.objective, loss, optimizer, metrics
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Draw the weights for inputs of this shape (without the batch axis) from the model's seed."""
        self._build(input_shape, self.classes)

    def replace_head(self, classes: int | Sequence[str]) -> None:
        """Replace the network's last layer by one for other classes, with newly drawn weights; other layers are kept.

        classes: their names; or their number, if the names are to be taken from the next data. See models.replace_head.
        """
        self._check_has_weights()
        names_or_none = class_names(classes)
        weights_before = self.weights
        with torch.inference_mode(False):
            rng = torch.Generator().manual_seed(self.seed)
            net, params = replace_head(self.net, map_tree(Tensor.cpu, self.params), len(names_or_none or ()), rng)
            with torch.device("meta"):  # shapes only
                _, output_shape = net.init(self.nominal_shape, torch.Generator())
            output_shape = free_output_shape(self.input_shape, net.init, params, output_shape)
        self.frozen -= {path for path, tensor in flatten(params).items() if tensor is not weights_before[path]}
        self.objective = self.objective.with_nets({"": net})
        self.classes = names_or_none if isinstance(classes, Sequence) else None
        self._set_params(params, self.input_shape, output_shape)

    @checked
    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int,
        batch_size: int = 32,
        validation: Any = None,
        augment: Callable[[Any, torch.Generator], Any] | None = None,
        steps_per_epoch: int | None = None,
        callbacks: Sequence[Callback] = (),
        run: str | os.PathLike[str] | None = None,
        resume: bool = False,
        monitor: str = "auto",
        checkpoint_seconds: float = 60.0,
        manifest: Mapping[str, Any] | None = None,
        verbose: bool = True,
        accumulate: int = 1,
        shards: int | None = None,
        exact: bool = True,
        batch_norm: str = "",
        bucket_mb: float = BUCKET_MB,
        shard_optimizer: bool = False,
    ) -> History:
        """Train on x and y, a Source such as a Dataset, or batches, and return the history of the epochs.

        Batches (images, targets) come from a DataLoader, a function that returns an iterator for each epoch, or a
        generator; steps_per_epoch: their number, see `Stream`. validation: data of the same kinds, or the fraction of
        x to hold out. augment: a function (images, rng) -> images, see pellucid.data.Augment. run: the run folder to
        write; manifest: values for its manifest.json. resume: whether to continue exactly from its last checkpoint,
        written every `checkpoint_seconds` and on Ctrl-C. monitor: the column of the history that selects the best
        weights, "" for the last. verbose: whether to show progress. accumulate, shards, exact, batch_norm, bucket_mb
        and shard_optimizer: see `FitOptions`. Raises PellucidError for invalid data or run folder, NaN and infinity.
        """
        options = FitOptions.of(locals())
        options.check_validation(self.schedule, validation is not None)
        data, held_out = self._training_data(x, y, validation, steps_per_epoch)
        note_split_differences(self, data, held_out if verbose else None)
        with preparing_plan(options, self, self.preprocess, data, held_out) as plan:
            return Loop(self, plan).run().history

    @checked
    def find_lr(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        augment: Callable[[Any, torch.Generator], Any] | None = None,
        lowest: float = LOWEST_RATE,
        highest: float = HIGHEST_RATE,
        steps: int = DEFAULT_STEPS,
    ) -> LearningRateRange:
        """Return the losses of a short training whose learning rate rises; the weights are restored.

        x, y, augment: as for `fit`. lowest, highest: the rates of the first and the last step. See `range_test`.
        """
        data, _ = self._data(x, y, None, None)
        self.check_learns()
        return range_test(
            self, data, batch_size=batch_size, augment=augment, lowest=lowest, highest=highest, steps=steps
        )

    @checked
    def evaluate(self, x: Any, y: Any = None, batch_size: int | None = None) -> dict[str, Any]:
        """Return {"loss": ..., "accuracy": ..., "n": ...}: the mean loss, each metric, and the number of examples."""
        data = checked_source(source_of(x, y, classes=self.classes, dtype=self.dtype), "x", self.fitting)
        batch_size = self._batch_size_or_default(data, batch_size, "evaluate")
        with torch.inference_mode():
            results = evaluate(self, data, batch_size)
        return {**results, "n": data.n_examples if isinstance(data, Stream) else len(data)}

    @checked
    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """Return the predictions, such as probabilities, for inputs (N, ...) or data as for `fit`, on the CPU.

        For an Objective, these are the results of its `predict`: a tensor, or a list with one entry per input.
        """
        inputs = inputs_of(x, lambda batch: self._check_input(batch, "x"), self.dtype)
        batch_size = self._batch_size_or_default(inputs, batch_size, "predict")
        with torch.inference_mode():
            outputs = [on_device(output, CPU) for output in self._predictions(inputs, batch_size)]
        return concatenate_batches(outputs) if outputs else torch.zeros(0, *nominal_shape(self.output_shape, 0))

    def about(self) -> dict[str, Any]:
        """Return the description of the model for a weights file, as JSON values."""
        return {
            **self.objective.about(self.custom),
            "input_shape": list(self.input_shape),
            "classes": None if self.classes is None else list(self.classes),
            **metrics_to_config(self.metrics, self.custom),
            "preprocess": self.preprocess,
            **({"precision": "float64"} if self.precision == "float64" else {}),
            **({} if self.confidence is None else {"confidence": self.confidence.to_json()}),
            **({"familiarity": self.familiarity.to_json()} if self.familiarity else {}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network and weights atomically to one safetensors file; raises PellucidError for another suffix."""
        self._check_has_weights()
        check_weights_suffix(output_path(path))
        note_unsaved(self.metrics, self.custom)
        write_weights(output_path(path), {**self.weights, **named_tensors(self.familiarity)}, self.about())

    @classmethod
    def load(cls, path: str | os.PathLike[str], custom: Sequence[Any] = (), device: str = "cpu") -> Self:
        """Load a shipped model by its name, such as "mnist-lenet", or a model from a run folder or a file of `save`.

        custom: user-defined classes, and functions that are metrics, that the file names in addition to registered
        ones; other parts that `register` accepts, such as an optimizer, are only checked. device: as for Model.
        Raises PellucidError for an unknown name, for a file that is damaged or of another format (see `read_weights`),
        and for tensors that do not fit the network.
        """
        custom = parts_for_files(custom)
        path = weights_file(path)
        tensors, about = read_weights(path)
        try:
            model, params, shape, output_shape = rebuild_model(cls, about, tensors, custom, is_shipped(path))
        except PellucidError as error:
            raise PellucidError(f"{path}: {error}") from error
        model.device = usable_device(device)
        weights = {name: float16_to_float32(tensor) for name, tensor in tensors.items() if not name.startswith("[")}
        calibration = model.confidence, model.familiarity  # which `_set_params` discards
        model._set_params(nest_like(path, params, weights), shape, output_shape)
        model.confidence, model.familiarity, model.source = *calibration, path
        return model

    def _build(
        self, input_shape: Any, classes: Sequence[str] | None, data_name: str = "input_shape", are_images: bool = False
    ) -> None:
        shape = image_shape(input_shape)
        check_axes(self.objective.nets.values(), nominal_shape(shape), data_name, are_images)
        with torch.inference_mode(False):
            params, output_shape = self.objective.init(nominal_shape(shape), torch.Generator().manual_seed(self.seed))
            output_shape = free_output_shape(shape, self.objective.init, params, output_shape)
        if isinstance(self.objective, Supervised):
            check_classes(output_shape, classes)
        self._set_params(params, shape, output_shape)

    def _set_params(self, params: Params, shape: FreeShape, output_shape: Any) -> None:
        with torch.inference_mode(False):
            # tensors that are created in inference mode could not be changed outside of it
            params = map_tree(lambda tensor: to_precision(tensor, self.precision).to(self.device), params)
        channels_last(params)
        self.params = params
        self.input_shape = shape
        self.output_shape = output_shape
        self._outputs, self._picture_outputs = {shape: output_shape}, {}
        self._discard_calibration()

    def _training_data(self, x: Any, y: Any, validation: Any, steps: int | None) -> tuple[Source, Source | None]:
        """Return the data of a training; raises PellucidError if all parameters are frozen."""
        data, held_out = self._data(x, y, validation, steps)
        self.check_learns()
        images: Any = first_batch(data).images
        if isinstance(images, Tensor):
            note_undivided(images, "x")
            self.trained_on_uint8 |= images.dtype is torch.uint8
        self._discard_calibration()
        return data, held_out

    def _discard_calibration(self) -> None:
        """Discard calibration and familiarity, which were fitted to earlier weights."""
        self.confidence = self.familiarity = None

    def _data(self, x: Any, y: Any, validation: Any, steps: int | None) -> tuple[Source, Source | None]:
        data, held_out = training_and_validation(x, y, validation, self.classes, self.seed, steps, self.dtype)
        classes = data.classes if self.classes is None else self.classes
        if self.built:
            if isinstance(self.objective, Supervised):
                check_classes(self.output_shape, classes)
        else:
            images = first_batch(data).images
            self._build(images.shape[1:], classes, "x", images.dtype is torch.uint8)
        self.classes = classes
        data = checked_source(data, "x", self.fitting)
        return data, None if held_out is None else checked_source(held_out, "validation", self.fitting)

    def fitting(self, data: Arrays, data_name: str = "x") -> Arrays:
        """Return the data and set their default metrics; raises PellucidError if they do not fit the network.

        data_name: the name of the data in messages.
        """
        self._check_input(data.x, data_name)
        shape = self.outputs_for(data.x.shape[1:])
        self.objective.check(shape, data.y)
        if self._default_metrics and isinstance(self.objective, Supervised):
            self.metrics = default_metrics(self.objective.loss, shape, data.y)
        return data

    def _batch_size_or_default(self, x: Tensor | Source, size: int | None, method: str) -> int:
        if size is not None:
            return integer(size, f"{method}: batch_size", 1)
        return batch_within_memory(self, x)
