"""What checks and experiments read of a case: the fields of a case of any task, and those that it may lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeGuard, TypeVar

if TYPE_CHECKING:
    import torch

    from pellucid.base.errors import PellucidError
    from pellucid.data.source import Source
    from pellucid.run.history import History
    from pellucid.training.model import BaseModel
    from pellucid.training.reading import Augmentation


class ExaminedCase(Protocol):
    """A case that checks examine, a dataclass; see `Case` for the meaning of its fields."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def train(self) -> Source: ...  # noqa: D102
    @property
    def validation(self) -> Source | None: ...  # noqa: D102
    @property
    def trained(self) -> bool: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102


class TrainingCase(ExaminedCase, Protocol):
    """A case whose training experiments repeat; see `Case` for the meaning of its fields."""

    @property
    def model(self) -> BaseModel: ...  # noqa: D102
    @property
    def begin(self) -> Callable[[], BaseModel]: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def steps_per_epoch(self) -> int: ...  # noqa: D102
    @property
    def steps_planned(self) -> int: ...  # noqa: D102
    @property
    def augment(self) -> Augmentation | None: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102


T = TypeVar("T", bound=TrainingCase)


class OptionalFields(NamedTuple):
    """The fields that a case of a task may lack, with their defaults; None if the case does not state them.

    See `Case` for their meaning.
    """

    stopped: PellucidError | str = ""
    trainable: bool | None = None
    steps_to_repeat: int | None = None
    epochs: int = 0
    history: History | None = None
    classifies: bool | None = None


def optional_fields(case: ExaminedCase) -> OptionalFields:
    """Return the fields that a case may lack, with the defaults of those that it lacks."""
    return OptionalFields(**{name: getattr(case, name) for name in OptionalFields._fields if hasattr(case, name)})


def repeats_training(case: ExaminedCase) -> TypeGuard[TrainingCase]:
    """Return whether experiments can repeat the training of a case."""
    return hasattr(case, "steps_planned")


def validation_of(case: ExaminedCase) -> Source:
    """Return the validation data of a case that has some."""
    assert case.validation is not None
    return case.validation
