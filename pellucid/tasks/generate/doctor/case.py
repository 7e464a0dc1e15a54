"""The doctor's case of a generator: the model with its data, and samples to compare with the data."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.doctor.case import Case
from pellucid.doctor.inputs import subsample
from pellucid.generators import Generator
from pellucid.objective import seeded
from pellucid.training.device import CPU

N_SAMPLES = 256  # images drawn from a generator


@dataclass(frozen=True, eq=False)
class GeneratorCase(Case):
    """A generator with its data; the target of each example is its image, since samples are compared with images."""

    @classmethod
    def of(cls, case: Case) -> Self:
        """Return a GeneratorCase with the values of a Case, in which the targets are replaced by the images."""
        parts = {"train": case.train, "validation": case.validation}
        images = {name: part and replace(part, y=part.x) for name, part in parts.items()}
        return cls(**{field.name: getattr(case, field.name) for field in fields(Case)} | images)

    @cached_property
    def samples(self) -> Tensor:
        """Images drawn from the generator, (N_SAMPLES, C, H, W), values 0 to 1."""
        objective = self.model.objective
        assert isinstance(objective, Generator)
        with torch.inference_mode():
            return objective.sample(self.model.params, N_SAMPLES, seeded(CPU, self.model.seed)).float()

    @cached_property
    def data_images(self) -> Tensor:
        """At most N_SAMPLES training images, values 0 to 1."""
        return float_images(subsample(self.train, N_SAMPLES, self.model.seed).x)
