"""Held-out scores: how well a model predicts each example, by the score of its task or else by the loss."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.source import Arrays, Batch, Source
from pellucid.doctor.training_case import TrainingCase
from pellucid.ops.image_objects import Detections, Objects
from pellucid.task import HeldOutScores, Task
from pellucid.training.device import on_device
from pellucid.training.model import BaseModel
from pellucid.training.reading import read_examples

# The maximum numbers of examples: of data that are read or scored by the loss, and of data in memory.
MAX_SCORED, MAX_SCORED_IN_MEMORY = 200, 1_000
N_COMPARED = 16  # examples from which it is decided whether the task's score says anything about a model
# Of the squared gradients of a loss at outputs equal to the targets, relative to those at other targets: at most in a
# minimum. And the score of the trained model up to which it says nothing, if MIN_REMOVED of the loss is removed.
MAX_MINIMUM, MAX_UNTOLD, MIN_REMOVED = 0.01, 0.05, 0.2
MIN_SCORE = 0.5  # of a detection that is taken for an object


def outputs_for(model: BaseModel, examples: Sequence[Batch]) -> list[Any]:
    """Return the prediction for each example; images of one size are predicted together."""
    images = [example.images for example in examples]
    batches = [torch.cat(images)] if len({image.shape for image in images}) == 1 else images
    return [output for batch in batches for output in model.predict(batch)]


def predicted_target(output: Any, target: Any) -> Any:
    """Return the prediction for an example as a target of the same kind as its own; None if there is no such target."""
    if isinstance(target, Objects) and isinstance(output, Detections):
        confident_detections = output.take(output.scores >= MIN_SCORE)
        return (
            Objects(confident_detections.boxes, confident_detections.labels)
            if target.masks is None and target.keypoints is None
            else None
        )
    if not isinstance(target, Tensor) or not isinstance(output, Tensor):
        return None
    if target.is_floating_point():
        return output.to(target.dtype).reshape(target.shape) if output.numel() == target.numel() else None
    return output.argmax(0).to(target.dtype) if output.shape[1:] == target.shape and len(output) > 1 else None


class HeldOutScorer:
    """Scores models by the task's score or, if it has none, by the decrease of the loss since before the first step.

    The decrease is relative to the loss before the first step. name: the name of the last score. own: the scores (n,)
    of a model for data, which are used instead.
    """

    def __init__(
        self, task: Task, case: TrainingCase, name: str = "", own: Callable[[BaseModel, Arrays], Tensor] | None = None
    ) -> None:
        self.task, self.case, self.name, self.own = task, case, name, own
        self._first_loss: float | None = None

    def __call__(self, model: BaseModel, data: Source, exchange_targets: bool = False) -> Tensor:
        """Return the weighted scores (n,) of `scored`."""
        return self.scored(model, data, exchange_targets).weighted

    def count(self, data: Source) -> int:
        """Return the number of examples that are scored: those of `drawn_indices` with the model's seed."""
        limit = MAX_SCORED_IN_MEMORY if isinstance(data, Arrays) and not self.uses_loss else MAX_SCORED
        return min(len(data), limit)

    def scored(self, model: BaseModel, data: Source, exchange_targets: bool = False) -> HeldOutScores:
        """Return the scores of `count(part)` examples, all 0 if the outputs are not finite.

        exchange_targets: whether each image is paired with the target of another image, to measure the score by chance.
        """
        if self.own is not None:
            assert isinstance(data, Arrays)
            return HeldOutScores(self.name, self.own(model, data))
        examples = read_examples(data, self.count(data), self.case.model.seed)
        if exchange_targets:
            half = len(examples) // 2
            partners = [*examples[half:], *examples[:half]]
            examples = [Batch(own.images, partner.targets) for own, partner in zip(examples, partners, strict=True)]
        try:
            outputs = outputs_for(model, examples)
        except PellucidError:
            return HeldOutScores(self.name, torch.zeros(len(examples), dtype=torch.float64))
        scores = self.task.scores(model, outputs, [example.targets[0] for example in examples])
        if scores is None or self.uses_loss:
            scores = self._by_loss(model, examples)
        self.name = scores.name
        return scores

    @cached_property
    def uses_loss(self) -> bool:
        """Whether predictions of this case are scored by the loss: the task has no scores, or these say nothing."""
        model, examples = self.case.begin(), read_examples(self.case.train, 2, self.case.model.seed)
        try:
            outputs = outputs_for(model, examples)
        except PellucidError:
            return False
        scores = self.task.scores(model, outputs, [example.targets[0] for example in examples])
        return scores is None or self.has_other_outputs

    @cached_property
    def has_other_outputs(self) -> bool:
        """Whether the outputs are maps in another form than the targets, such as logits of a grid detector.

        The trained model has lowered an own loss, of which outputs equal to the targets are no minimum, and is nowhere
        close to the targets.
        """
        model = self.case.model
        loss: Any = getattr(model.objective, "loss", None)
        if not hasattr(loss, "criterion") or not self.case.trained:
            return False
        examples = read_examples(self.case.train, N_COMPARED, model.seed)
        targets = [example.targets[0] for example in examples]
        try:
            outputs = outputs_for(model, examples)
            scores = self.task.scores(model, outputs, targets)
            expected = torch.stack(targets)
            equal = expected.reshape(len(expected), *outputs[0].shape)
            own, other = (loss(values, expected)[1].square().sum() for values in (equal, equal.roll(1, 0)))
        except (PellucidError, RuntimeError, AttributeError, TypeError):  # of several outputs, or of several sizes
            return False
        is_minimum = expected.dim() < 3 or not float(own) > MAX_MINIMUM * float(other)
        if scores is None or is_minimum or float(scores.weighted.mean()) > MAX_UNTOLD:
            return False
        return float(self._by_loss(model, examples).weighted.mean()) >= MIN_REMOVED

    def _by_loss(self, model: BaseModel, examples: Sequence[Batch]) -> HeldOutScores:
        if self._first_loss is None:
            first_losses = self._losses(self.case.begin(), examples)
            self._first_loss = float(first_losses.mean().clamp_min(torch.finfo(first_losses.dtype).tiny))
        shares = (self._losses(model, examples) / self._first_loss).clamp(0, 1)
        return HeldOutScores("share of the first loss removed", 1 - shares)

    def _losses(self, model: BaseModel, examples: Sequence[Batch]) -> Tensor:
        """Return each example's loss by the case's objective, even if the model was trained with another objective."""
        objective = self.case.model.objective.with_nets(model.objective.nets)
        evaluate = objective.evaluator(model.params, len(examples))
        with torch.inference_mode():
            batches = (
                Batch(model.scaled(example.images), on_device(example.targets, model.device)) for example in examples
            )
            losses = [{name: float(value) for name, value in evaluate(batch).losses.items()} for batch in batches]
        return torch.tensor([objective.total(example_losses) for example_losses in losses], dtype=torch.float64)
