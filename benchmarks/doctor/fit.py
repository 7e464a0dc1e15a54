"""A training of any task as a user writes it, and the pair of a mistaken and a sound one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.run.history import History


class Ran(NamedTuple):
    """A model after its training. stopped: the error that ended it early, None if nothing did."""

    model: Model
    history: History | None
    stopped: PellucidError | None


@dataclass(frozen=True, eq=False)
class Fit:
    """What `Model.fit` and `Model.doctor` are given.

    begin: the model before its first step. train, validation: sources, pairs of tensors, or a function that returns
    batches. score: of the trained model, on data as the network will meet them; more is better. further: other
    arguments of `fit`.
    """

    begin: Callable[[], Model]
    train: Any
    validation: Any
    score: Callable[[Model], float]
    epochs: int
    batch_size: int = 16
    augment: Any = None
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> tuple[Any, ...]:
        """The training data as positional arguments."""
        return self.train if isinstance(self.train, tuple) else (self.train,)

    def learn(self, model: Model) -> History | None:
        """Train a model, and return its history."""
        return model.fit(
            *self.data, epochs=self.epochs, batch_size=self.batch_size, validation=self.validation,
            augment=self.augment, verbose=False, **self.further,
        )  # fmt: skip

    def run(self) -> Ran:
        """Train a new model."""
        model = self.begin()
        try:
            return Ran(model, self.learn(model), None)
        except PellucidError as error:
            return Ran(model, None, error.with_traceback(None))

    def reached(self) -> float:
        """Train, and return the score; that of a training that stops with an error is that of its last weights."""
        return self.score(self.run().model)

    def asked(self, ran: Ran) -> Any:
        """Return what the doctor says of the trained model."""
        return ran.model.doctor(
            *self.data, validation=self.validation, history=ran.history, batch_size=self.batch_size,
            epochs=self.epochs, augment=self.augment, begin=self.begin, stopped=ran.stopped or "",
        )  # fmt: skip

    def but(self, **changes: Any) -> Self:
        """Return the training with other values."""
        return replace(self, **changes)


class Pair(NamedTuple):
    """A mistaken training and its sound twin. measure: what the scores are."""

    mistaken: Fit
    sound: Fit
    measure: str


Case = Callable[[int], Pair]
