"""A tensor that holds NaN or infinity, and where it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

Kind = Literal["input", "weight", "memory", "output", "loss", "gradient"]


@dataclass(frozen=True)
class NotFinite:
    """What is not finite; as a string, a sentence: "dense1 (Dense): the output y holds infinity (3 of 16 values, ...)".

    kind: what it is; "memory" is what the optimizer remembers of a weight. path: of its layer, "" for the network
    itself, the inputs and the loss. layer: the layer's type where a pass met it. tensor: its name: "weight", "the
    output y". what: "NaN", also where there is infinity besides, or "infinity". count: how many of its values, and
    shape: the tensor's. note: what is known besides.
    """

    kind: Kind
    path: str
    layer: str
    tensor: str
    what: str
    count: int
    shape: tuple[int, ...]
    note: str = ""

    @classmethod
    def of(cls, value: Any, kind: Kind, tensor: str, path: str = "", layer: str = "") -> Self | None:
        """Return the first that is not finite in `value`, a tensor, None, or a tuple of such; None if all are."""
        if isinstance(value, tuple):
            return next(filter(None, (cls.of(part, kind, tensor, path, layer) for part in value)), None)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return None
        count = int((~torch.isfinite(value)).sum())
        what = "NaN" if bool(torch.isnan(value).any()) else "infinity"
        return cls(kind, path, layer, tensor, what, count, tuple(value.shape)) if count else None

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made of; KeyError, TypeError or ValueError for anything else."""
        found = cls(**{one.name: told[one.name] for one in fields(cls)})
        words = (found.kind, found.path, found.layer, found.tensor, found.what, found.note)
        if found.kind not in get_args(Kind) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{told} tells of no tensor")
        return cls(*words[:5], int(found.count), tuple(int(size) for size in found.shape), found.note)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "shape": list(self.shape)}

    @property
    def held(self) -> str:
        """The sentence without the location."""
        size = torch.Size(self.shape).numel()
        note = f", {self.note}" if self.note else ""
        return f"{self.tensor} holds {self.what} ({self.count} of {size} values, shape {self.shape}){note}"

    def __str__(self) -> str:
        """Return the sentence."""
        kind = f"{self.path} ({self.layer})" if self.path and self.layer else self.path or self.layer
        place = "the loss" if self.kind == "loss" else kind
        return f"{place}: {self.held}" if place else self.held
