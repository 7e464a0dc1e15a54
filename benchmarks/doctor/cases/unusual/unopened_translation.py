"""Mistakes in colorization and translation of the unopened half."""

from collections.abc import Mapping

import torch

from benchmarks.doctor.cases.unusual.data import arrays
from benchmarks.doctor.cases.unusual.sound import colorizer, translator
from benchmarks.doctor.fit import Case, Pair


def conversion_of_0_to_255(seed: int) -> Pair:
    """Convert values of 0 to 255 as if they were 0 to 1."""
    sound, parts = colorizer(seed)
    train, validation = (arrays(part.x.float(), part.y) for part in (parts.train, parts.validation))
    return Pair(sound.but(train=train, validation=validation), sound, "explained variance of the colours")


def pairs_by_extension(seed: int) -> Pair:
    """Pair inputs and targets by listings of which one is sorted by file type first."""
    sound, parts = translator(seed)
    first = torch.rand(len(parts.train), generator=torch.Generator().manual_seed(seed)) < 0.5
    order = torch.cat([first.nonzero().flatten(), (~first).nonzero().flatten()])
    return Pair(sound.but(train=arrays(parts.train.x, parts.train.y[order])), sound, "explained variance of the images")


CASES: Mapping[str, Case] = {
    "col-conversion-of-0-to-255": conversion_of_0_to_255,
    "trl-pairs-by-extension": pairs_by_extension,
}
