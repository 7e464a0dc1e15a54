"""Seeds for every random stream of the data package, mixed from small integers."""

import torch

_MASK_64_BITS = (1 << 64) - 1


def mix(*parts: int) -> int:
    """Return a 64-bit seed mixed from integers: h = splitmix64(h XOR part) for each part in turn, from h = 0.

    The same parts always give the same seed, on every machine and with all library versions.
    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
    """
    h = 0
    for part in parts:
        h = ((h ^ (part & _MASK_64_BITS)) + 0x9E3779B97F4A7C15) & _MASK_64_BITS
        h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64_BITS
        h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & _MASK_64_BITS
        h ^= h >> 31
    return h


def generator(*parts: int) -> torch.Generator:
    """Return a CPU generator that is seeded with `mix(*parts)`."""
    return torch.Generator().manual_seed(mix(*parts))


class BatchDraws:
    """A random generator for the batches of an evaluation, seeded with each batch's index, from `first_batch` on."""

    def __init__(self, rng: torch.Generator, first_batch: int = 0) -> None:
        self.rng, self._batch_index = rng, first_batch

    def next(self) -> torch.Generator:
        """Return the generator for the next batch."""
        self._batch_index += 1
        return self.rng.manual_seed(self._batch_index - 1)
