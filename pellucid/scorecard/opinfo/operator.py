"""One operator of PyTorch's OpInfo database, and how its sample inputs are put to a layer or loss of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pellucid.scorecard.trial import Trial


@dataclass(frozen=True)
class Operator:
    """An entry of `torch.testing._internal.common_methods_invocations.op_db`.

    `adapt(theirs, input, *args, **kwargs)` takes one sample as the operator itself would, and `theirs`, which runs
    the operator on it and returns its result; it returns the trial, or raises SkipCase with the option's name.
    `subject` is our class.
    """

    name: str
    subject: Any
    adapt: Callable[..., Trial]
    variant: str = ""

    @property
    def title(self) -> str:
        """The operator's name and variant."""
        return f"{self.name}.{self.variant}" if self.variant else self.name
