"""One operator of PyTorch's OpInfo database, and how its sample inputs are put to a layer or loss of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from conformance.trial import Trial


@dataclass(frozen=True)
class Operator:
    """An entry of `torch.testing._internal.common_methods_invocations.op_db`.

    `adapt(reference, input, *args, **kwargs)` takes one sample as the operator itself would, and `reference`, which
    runs the operator on it and returns its result; it returns the trial, or raises SkipCase with the option's name.
    `subject` is our class. An operator that `weighs` is a loss whose option `weight` PyTorch's samples draw from
    both sides of 0, where a weighted mean means nothing and ours takes no weight below 0: both sides get |weight|.
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
        """Return the options of a sample as both sides get them, and what of them is not as PyTorch drew it."""
        weight = sample_options.get("weight")
        if not (self.weighs and isinstance(weight, Tensor) and bool((weight < 0).any())):
            return sample_options, ""
        return {**sample_options, "weight": weight.abs()}, " with |weight|"
