"""One operator of PyTorch's OpInfo database, and its adapter to a layer or loss of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from conformance.trial import Trial


@dataclass(frozen=True)
class Operator:
    """An entry of `torch.testing._internal.common_methods_invocations.op_db`.

    `adapt(reference, input, *args, **kwargs)` takes the arguments of one sample, and `reference`, a function that runs
    the operator on them. It returns the trial, or raises SkipCase with the name of an option that we do not have.
    `subject` is our class. `weighs`: the operator is a loss for which PyTorch also draws weights below 0. Our losses
    refuse them, because a weighted mean needs weights of one sign, so both sides receive |weight|.
    """

    name: str
    subject: Any
    adapt: Callable[..., Trial]
    variant: str = ""
    weighs: bool = False

    @property
    def title(self) -> str:
        """The operator's name and variant."""
        return f"{self.name}.{self.variant}" if self.variant else self.name

    def options(self, sample_options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the options of a sample for both sides, and an ending of the case's name if they were changed."""
        weight = sample_options.get("weight")
        if not (self.weighs and isinstance(weight, Tensor) and bool((weight < 0).any())):
            return sample_options, ""
        return {**sample_options, "weight": weight.abs()}, " with |weight|"
