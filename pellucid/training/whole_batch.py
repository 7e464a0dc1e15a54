"""Training steps on whole batches, in one process."""

from typing import Any

import torch

from pellucid.combine.nets import named_layers
from pellucid.data.source import Batch
from pellucid.layers.base import Mode
from pellucid.objective import Supervised
from pellucid.run.history import Row
from pellucid.training.diagnose import NotFinite, step_fault
from pellucid.training.layer_statistics import may_draw, seed_step
from pellucid.training.learner import Learner
from pellucid.training.process import StopSignals
from pellucid.training.step import NotFiniteError, StepLosses, TrainingStep


class WholeBatchStep:
    """One training step from a whole batch; a `ShardedStep` has the same interface for the shards of a batch.

    After a step, `batch_weight` is the batch's weight in mean losses, `n_examples` its number of examples, and
    `check_due` whether to check the parameters.

    step: the step of the model.
    rng: the random generator of the step, seeded anew for each step.
    signals: the requests to stop.
    """

    def __init__(self, model: Learner, step: TrainingStep, rng: torch.Generator, signals: StopSignals) -> None:
        self.model = model
        self.step = step
        self.rng = rng
        self.signals = signals
        self.batch_weight: Any = 0.0
        self.n_examples = 0
        self.check_due = False
        is_user_defined = not isinstance(model.objective, Supervised)
        self.is_random = is_user_defined or any(may_draw(layer) for _, layer in named_layers(model.objective.nets))

    def __call__(self, batch: Batch, lr: float, step_number: int, check_due: bool = False) -> StepLosses:
        """Update the parameters from the batch of a step, numbered from 0, and return the losses by name.

        check_due: whether to check the parameters after this step. Raises NotFiniteError for a loss of NaN or infinity.
        """
        self.check_due = check_due
        if self.is_random:
            seed_step(self.rng, self.model.seed, self.model.earlier_steps + step_number)
        losses = self.step(batch, lr, self.rng)
        self.batch_weight = self.model.objective.total_weight(batch)
        self.n_examples = len(batch.images)
        return losses

    @property
    def stop_requested(self) -> bool:
        """Whether the training is to stop."""
        return self.signals.stop_requested

    def first_part(self, batch: Batch) -> Batch:
        """Return the batch, as it is not divided."""
        return batch

    def fault(self, batch: Batch, step_number: int, error: NotFiniteError) -> NotFinite | None:
        """Return what is not finite in a step, found by repeating it."""
        rng = seed_step(self.rng, self.model.seed, self.model.earlier_steps + step_number)
        return step_fault(self.model, self.step, batch, Mode(train=True, rng=rng), error)

    def wait_columns(self) -> Row:
        """Return no columns, since no process waits for another."""
        return {}
